// The CUDA that Python's and conda's packages bring, by their names: of wheels NAME-VERSION.dist-info (PEP 376, 440),
// of conda's conda-meta/NAME-VERSION-BUILD.json.
#include <algorithm>
#include <array>
#include <cctype>
#include <optional>

#include <fmt/format.h>

#include "guest/python_environments.hpp"

namespace cuda_nspawn {
namespace {

constexpr std::size_t most_cuda_packages = 256;
constexpr std::string_view digits = "0123456789";

// Their versions are CUDA's.
constexpr std::array<std::string_view, 8> conda_names = {"cudatoolkit",  "cuda-cudart",  "cuda-version", "cuda-toolkit",
                                                         "cuda-runtime", "pytorch-cuda", "cuda-compat",  "cuda-nvrtc"};

// PEP 503: these are the same name.
std::string normalized(std::string_view name) {
    std::string result(name);
    std::ranges::transform(result, result.begin(), [](unsigned char c) {
        return c == '_' || c == '.' ? '-' : static_cast<char>(std::tolower(c));
    });
    return result;
}

// "12.4" of "12.4.127", "12" of "12"; "" of what does not begin with a number of at most three digits.
std::string first_two_numbers(std::string_view version) {
    constexpr std::size_t longest = 3;
    const auto number = [](std::string_view text) { return text.substr(0, text.find_first_not_of(digits)); };
    const std::string_view major = number(version);
    if (major.empty() || major.size() > longest) return "";
    version.remove_prefix(major.size());
    if (!version.starts_with('.')) return std::string(major);
    const std::string_view minor = number(version.substr(1));
    if (minor.empty() || minor.size() > longest) return std::string(major);
    return fmt::format("{}.{}", major, minor);
}

// "12" of "12", "12.1" of "121", "9.2" of "92", "12.1" of "12.1"; what follows does not count. "" of anything else.
std::string cuda_of_digits(std::string_view text) {
    const std::string_view number = text.substr(0, text.find_first_not_of(digits));
    if (text.substr(number.size()).starts_with('.') && number.size() == 2) return first_two_numbers(text);
    if (number.size() == 2) return number[0] < '5' ? std::string(number) : fmt::format("{}.{}", number[0], number[1]);
    if (number.size() == 3) return fmt::format("{}.{}", number.substr(0, 2), number.substr(2));
    return "";
}

// "12.1" of "cu121", "12" of "cuda12x" and "cuda12"; "" of another word.
std::string cuda_of_word(std::string_view word) {
    for (const std::string_view prefix : {"cuda", "cu"}) {
        if (!word.starts_with(prefix)) continue;
        const std::string_view rest = word.substr(prefix.size());
        const std::string_view behind = rest.substr(std::min(rest.find_first_not_of(digits), rest.size()));
        return behind.empty() || behind == "x" ? cuda_of_digits(rest) : "";
    }
    return "";
}

template <class Take>
std::string first_cuda_word(std::string_view text, std::string_view separators, Take&& take) {
    while (!text.empty()) {
        const std::string_view word = text.substr(0, text.find_first_of(separators));
        if (std::string cuda = take(word); !cuda.empty()) return cuda;
        text.remove_prefix(std::min(word.size() + 1, text.size()));
    }
    return "";
}

std::string cuda_of_wheel(const std::string& name, std::string_view version) {
    std::string of_name = first_cuda_word(name, "-", cuda_of_word);
    // Parts of the toolkit, whose versions are its own; since CUDA 13 without a suffix.
    if (name == "nvidia-cuda-runtime") return first_two_numbers(version);
    if (name.starts_with("nvidia-cuda-")) {
        std::string of_version = first_two_numbers(version);
        if (of_version.starts_with(of_name + ".") && !of_name.empty()) return of_version;
    }
    if (!of_name.empty()) return of_name;
    const std::size_t local = version.find('+');
    return local == std::string_view::npos ? "" : first_cuda_word(version.substr(local + 1), ".", cuda_of_word);
}

std::optional<CudaPackage> wheel(std::string_view directory) {
    constexpr std::string_view suffix = ".dist-info";
    if (!directory.ends_with(suffix)) return std::nullopt;
    directory.remove_suffix(suffix.size());
    const std::size_t dash = directory.find('-');
    if (dash == std::string_view::npos) return std::nullopt;
    CudaPackage package;
    package.name = normalized(directory.substr(0, dash));
    package.version = directory.substr(dash + 1);
    package.cuda = cuda_of_wheel(package.name, package.version);
    if (package.cuda.empty()) return std::nullopt;
    return package;
}

// "py3.11_cuda12.1_cudnn8.9.2_0", "cuda120py311h1234567_0"
std::string cuda_of_build(std::string_view build) {
    return first_cuda_word(build, "_", [](std::string_view word) -> std::string {
        constexpr std::string_view prefix = "cuda";
        return word.starts_with(prefix) ? cuda_of_digits(word.substr(prefix.size())) : "";
    });
}

std::optional<CudaPackage> conda_package(std::string_view file) {
    constexpr std::string_view suffix = ".json";
    if (!file.ends_with(suffix)) return std::nullopt;
    file.remove_suffix(suffix.size());
    const std::size_t build = file.rfind('-');
    if (build == std::string_view::npos || build == 0) return std::nullopt;
    const std::size_t version = file.rfind('-', build - 1);
    if (version == std::string_view::npos) return std::nullopt;
    CudaPackage package;
    package.kind = PackageKind::conda;
    package.name = file.substr(0, version);
    package.version = file.substr(version + 1, build - version - 1);
    const bool is_cuda = std::ranges::find(conda_names, package.name) != conda_names.end();
    package.cuda = is_cuda ? first_two_numbers(package.version) : cuda_of_build(file.substr(build + 1));
    if (package.cuda.empty()) return std::nullopt;
    return package;
}

}  // namespace

std::vector<CudaPackage> find_cuda_packages(const PythonEnvironments& environments) {
    std::vector<CudaPackage> packages;
    const auto add_all = [&](const std::string& path, const std::vector<std::string>& names, auto&& read) {
        for (const std::string& name : names) {
            auto package = read(name);
            if (!package || packages.size() >= most_cuda_packages) continue;
            package->path = path;
            packages.push_back(std::move(*package));
        }
    };
    for (const auto& [path, names] : environments.packages) add_all(path, names, wheel);
    for (const auto& [path, metadata] : environments.conda) add_all(path, metadata, conda_package);
    return packages;
}

}  // namespace cuda_nspawn

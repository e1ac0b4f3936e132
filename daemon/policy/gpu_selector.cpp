#include "policy/gpu_selector.hpp"

#include <algorithm>
#include <charconv>
#include <optional>

#include <fmt/format.h>

namespace cuda_nspawn {
namespace {

constexpr unsigned highest_index = 255;  // NVIDIA's device minors are bytes

bool is_digit(char c) { return c >= '0' && c <= '9'; }
bool is_hex(char c) { return is_digit(c) || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F'); }
bool all_hex(std::string_view text) { return !text.empty() && std::ranges::all_of(text, is_hex); }

std::string lower(std::string_view text) {
    std::string result(text);
    for (char& c : result) {
        if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
    }
    return result;
}

// A text of at most `digits` hexadecimal digits.
std::optional<unsigned> parse_hex(std::string_view text, std::size_t digits) {
    unsigned value = 0;
    if (text.size() > digits || !all_hex(text)) return std::nullopt;
    std::from_chars(text.data(), text.data() + text.size(), value, 16);
    return value;
}

// 8-4-4-4-12 hexadecimal digits.
bool is_uuid(std::string_view text) {
    constexpr std::string_view shape = "00000000-0000-0000-0000-000000000000";
    return std::ranges::equal(text, shape, [](char c, char s) { return s == '-' ? c == '-' : is_hex(c); });
}

// [DOMAIN:]BUS:DEVICE.FUNCTION, as lspci, nvidia-smi and /proc/driver/nvidia write it; the domain has 4 digits in the
// kernel's spelling (more only above ffff) and 8 in nvidia-smi's.
std::optional<GpuPciAddress> parse_pci_address(std::string_view text) {
    std::size_t dot = text.rfind('.');
    std::size_t device_colon = text.rfind(':');
    if (dot == std::string_view::npos || device_colon == std::string_view::npos || device_colon > dot) {
        return std::nullopt;
    }
    std::string_view before = text.substr(0, device_colon);
    std::string_view domain_text = "0000";
    if (std::size_t colon = before.find(':'); colon != std::string_view::npos) {
        domain_text = before.substr(0, colon);
        before.remove_prefix(colon + 1);
    }
    auto domain = parse_hex(domain_text, 8);
    auto bus = parse_hex(before, 2);
    auto device = parse_hex(text.substr(device_colon + 1, dot - device_colon - 1), 2);
    auto function = parse_hex(text.substr(dot + 1), 1);
    if (!domain || domain_text.size() < 4 || !bus || before.size() != 2 || dot - device_colon != 3) return std::nullopt;
    if (!device || *device > 0x1f || !function || *function > 7) return std::nullopt;
    return GpuPciAddress{fmt::format("{:04x}:{:02x}:{:02x}.{:x}", *domain, *bus, *device, *function)};
}

std::variant<GpuSelector, std::string> parse_index(std::string_view text) {
    unsigned value = 0;
    auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (error != std::errc{} || value > highest_index) {
        return fmt::format("GPU index {} is too large: indexes go from 0 to {}.", text, highest_index);
    }
    if (text.size() > 1 && text.front() == '0') {
        return fmt::format("GPU index {} has leading zeros: write {}.", text, value);
    }
    return GpuIndex{value};
}

}  // namespace

std::variant<GpuSelector, std::string> parse_gpu_selector(std::string_view text) {
    std::string folded = lower(text);
    if (!text.empty() && std::ranges::all_of(text, is_digit)) return parse_index(text);
    if (folded.starts_with("gpu-")) {
        if (is_uuid(std::string_view(folded).substr(4))) return GpuUuid{"GPU-" + folded.substr(4)};
        return fmt::format(
            "'{}' is no complete GPU UUID: it is GPU- and 8-4-4-4-12 hexadecimal digits, "
            "as 'nvidia-smi -L' prints it.",
            text);
    }
    if (folded.starts_with("mig-")) {
        return fmt::format(
            "'{}': MIG devices are not supported by this version; name the whole GPU by its index, UUID "
            "or PCI address.",
            text);
    }
    if (auto address = parse_pci_address(folded)) return *address;
    if (folded == "all" || folded == "none") {
        return fmt::format("'{}' stands alone and in no list: write 'gpus: {}'.", text, folded);
    }
    return fmt::format(
        "'{}' names no GPU: write an index (0), a UUID (GPU-…), a PCI address (0000:01:00.0), "
        "'all' or 'none'.",
        text);
}

}  // namespace cuda_nspawn

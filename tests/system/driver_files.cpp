// What the driver library makes of a host's tree, for the suite driver and the bench.
//   driver_files list ROOT            a line per file: CAPABILITY KIND NAME SOURCE [LINK…]; what is odd goes to
//   standard error driver_files build ROOT STORE     makes a generation and prints its name driver_files verify ROOT
//   STORE NAME
//                                     compares it byte by byte: a line per fault; ends with 1 if it is damaged
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <cstdio>
#include <exception>
#include <string>
#include <vector>

#include "driver/driver.hpp"
#include "driver/generation.hpp"

namespace {

using cuda_nspawn::Driver;

Driver discover(const std::string& root) {
    // No module is loaded in such a tree: the newest driver there counts.
    return cuda_nspawn::discover_driver({root, root + "/no-proc", root + "/no-sys"});
}

int list(const std::string& root) {
    const Driver driver = discover(root);
    for (const auto& file : driver.files)
        fmt::print("{} {} {} {} {}\n", to_string(file.capability), cuda_nspawn::generation_folder(file.kind), file.name,
                   file.source, fmt::join(file.links, " "));
    for (const auto& note : driver.notes) fmt::print(stderr, "{}\n", note);
    return 0;
}

int build(const std::string& root, const std::string& store) {
    const Driver driver = discover(root);
    const std::string name = cuda_nspawn::generation_name(driver);
    cuda_nspawn::build_generation(driver, name, store, root);
    fmt::print("{}\n", name);
    return 0;
}

int verify(const std::string& root, const std::string& store, const std::string& name) {
    const auto faults = cuda_nspawn::verify_generation(name, store, root);
    for (const auto& fault : faults.damaged) fmt::print("damaged: {}\n", fault);
    for (const auto& fault : faults.unknown) fmt::print("unknown: {}\n", fault);
    return faults.damaged.empty() ? 0 : 1;
}

int run(const std::vector<std::string>& arguments) {
    if (arguments.size() == 2 && arguments[0] == "list") return list(arguments[1]);
    if (arguments.size() == 3 && arguments[0] == "build") return build(arguments[1], arguments[2]);
    if (arguments.size() == 4 && arguments[0] == "verify") return verify(arguments[1], arguments[2], arguments[3]);
    fmt::print(stderr, "usage: driver_files list ROOT | build ROOT STORE | verify ROOT STORE NAME\n");
    return 2;
}

}  // namespace

int main(int argc, char** argv) {
    try {
        return run({argv + 1, argv + argc});
    } catch (const std::exception& error) {
        fmt::print(stderr, "driver_files: {}\n", error.what());
        return 1;
    }
}

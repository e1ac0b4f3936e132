// Makes plans real: files, links and nodes on the host. Runs with CAP_MKNOD in its own service; what the request says
// is checked against the host before anything is touched.
#pragma once

#include <filesystem>
#include <functional>
#include <string>

#include "driver/driver.hpp"
#include "worker/protocol.hpp"
#include "worker/tree.hpp"

namespace cuda_nspawn {

struct ExposeHost {
    std::filesystem::path root = "/";
    std::filesystem::path inside = "/usr/lib/cuda-nspawn/inside";  // what is put into each machine's guest directory
    Driver driver;                                                 // the kernel side decides which nodes may be made
    // What user the root of a running machine is on the host; throws when it does not run.
    std::function<unsigned(const std::string& machine)> find_root;
    ComparedFiles* compared = nullptr;  // of one that serves many requests; else each compares anew
};

// One machine's failure is in its report and stops no other. Throws std::runtime_error if the whole request is refused.
ExposeReport expose(const ExposeRequest& request, const ExposeHost& host);

// What is wrong with a plan that the daemon sent, as a sentence; empty if it may be carried out. In a dry run the
// generation may still have to be copied.
std::string plan_error(const Plan& plan, const ExposeHost& host, bool dry_run = false);

}  // namespace cuda_nspawn

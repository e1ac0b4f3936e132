// Python's and conda's environments in a guest, and the CUDA packages in them, by the names of what their installers
// keep: no file of theirs is opened. Everything read is hostile input.
#pragma once

#include <string>
#include <vector>

#include "guest/software.hpp"

namespace cuda_nspawn {

struct PackageDirectory {
    std::string path;  // "/opt/venv/lib/python3.11/site-packages"
    std::vector<std::string> names;
};

struct CondaEnvironment {
    std::string path;                   // "/opt/conda/envs/train"
    std::vector<std::string> metadata;  // "cuda-cudart-12.4.127-0.json"
};

struct PythonEnvironments {
    std::vector<PackageDirectory> packages;
    std::vector<CondaEnvironment> conda;
    std::vector<std::string> prefixes;  // that have either: "/opt/venv"
};

// Of the system, in /opt, in homes and in /srv. `notes` gets a sentence when there were too many.
PythonEnvironments find_python_environments(const GuestTree& tree, std::vector<std::string>& notes);

std::vector<CudaPackage> find_cuda_packages(const PythonEnvironments& environments);

}  // namespace cuda_nspawn

// Texts that set environment variables, each as who reads it understands it: shells, systemd, PAM. Hostile input.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace cuda_nspawn {

struct Line {
    unsigned number = 0;  // of the first, where a backslash at its end joins it with the next
    std::string text;     // without white space around it, and no comment
};

// Without empty ones and comments.
std::vector<Line> logical_lines(std::string_view text);

// One word as a shell reads it, quotes and escapes taken off, up to an unquoted character of `ends`; takes it off
// `text`. Expansions stay as they are.
std::string take_word(std::string_view& text, std::string_view ends);

struct Assignment {
    unsigned line = 0;
    std::string name;
    std::string value;  // printable, at most 1024 bytes
};

// LD_LIBRARY_PATH, LD_PRELOAD, CUDA_VISIBLE_DEVICES, NVIDIA_VISIBLE_DEVICES.
bool decides_on_cuda(std::string_view name);
// Whether any of these occurs in it.
bool mentions_cuda_variables(std::string_view text);

// All of these read only assignments to variables that decide on CUDA.
std::vector<Assignment> shell_assignments(std::string_view text);
// EnvironmentFile=, environment.d(5), /etc/environment: the rest of the line is the value.
std::vector<Assignment> environment_file_assignments(std::string_view text);
// pam_env.conf(5): NAME DEFAULT=value OVERRIDE=value
std::vector<Assignment> pam_assignments(std::string_view text);
// The words of Environment= (systemd.exec(5)), with %% as %.
std::vector<Assignment> unit_assignments(unsigned line, std::string_view value);

// The absolute directories that a value of LD_LIBRARY_PATH names, what it appends to itself left out.
std::vector<std::string> library_path_directories(std::string_view value);

}  // namespace cuda_nspawn

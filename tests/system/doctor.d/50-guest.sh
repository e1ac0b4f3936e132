# shellcheck shell=bash disable=SC2154 # the pieces of a suite share its variables
# Libraries, environment, toolkits and packages in the guest. Files are laid by the guest itself, as an admin would in it.

copied=535.183.01

# Each case begins with a guest that has nothing of its own.
_new_guest() {
    _patient
    end_machines "$guest"
    rm -rf "${root:?}"
    lab-guest trixie "$guest"
    wait_until 10 property_is "$guest" State ready
}

# The suite's own driver is newer than every table.
_known_driver() {    # [VERSION]
    _simulated_only
    _driver --version "${1:-580.159.04}"
    _refreshed
}

_bundles() {    # DIRECTORY VERSION: a library that works, so that nothing else fails
    mkdir -p "$root$1"
    cp "$hosts_libcuda" "$root$1/libcuda.so.$2"
    ln -sf "libcuda.so.$2" "$root$1/libcuda.so.1"
}

# What a program is in these cases: one that is linked with libcuda.so.1, as the host's compiler makes it.
_program() {    # PATH LINKER-OPTION…
    local source
    command -v gcc >/dev/null || skip "this lab has no compiler"
    source=$(mktemp --suffix=.c)
    echo 'int cuInit(unsigned); int main(void) { return cuInit(0); }' >"$source"
    mkdir -p "$root${1%/*}"
    gcc -o "$root$1" "$source" -L"${hosts_libcuda%/*}" -l:libcuda.so.1 "${@:2}"
    rm "$source"
}

_a_copy_is_found_and_removed() {    # DIRECTORY PART…
    _new_guest
    _bundles "$1" $copied
    systemctl start "cuda-nspawn@$guest"
    _finds guest-libcuda "warning: " "has its own libcuda.so.1 ($copied)" "${@:2}"
    wait_until 30 has_booted "$guest"
    _mend
    _is_well
    [ ! -e "$root$1/libcuda.so.$copied" ]
    _discharged
}

a_copy_of_libcuda_in_a_standard_directory() { _a_copy_is_found_and_removed /usr/lib/x86_64-linux-gnu; }
a_copy_of_libcuda_in_usr_local_cuda() { _a_copy_is_found_and_removed /usr/local/nvidia/lib64; }
a_copy_of_libcuda_in_an_opt_tree() { _a_copy_is_found_and_removed /opt/tool/1.0/lib64; }
a_copy_of_libcuda_in_a_conda_environment() { _a_copy_is_found_and_removed /opt/conda/envs/train/lib; }

a_copy_of_libcuda_beside_a_wheel() {
    _new_guest
    mkdir -p "$root/opt/venv/lib/python3.13/site-packages/fast.libs"
    cp "$hosts_libcuda" "$root/opt/venv/lib/python3.13/site-packages/fast.libs/libcuda-1f2e3d4c.so.1"
    systemctl start "cuda-nspawn@$guest"
    _finds guest-libcuda "warning: " fast.libs/libcuda-1f2e3d4c.so.1
    wait_until 30 has_booted "$guest"
    _mend
    _is_well
    _discharged
}

a_stub_where_the_loader_looks() {
    _new_guest
    mkdir -p "$root/usr/local/cuda-12.4/lib64/stubs"
    cp "$hosts_libcuda" "$root/usr/local/cuda-12.4/lib64/stubs/libcuda.so"
    ln -s libcuda.so "$root/usr/local/cuda-12.4/lib64/stubs/libcuda.so.1"
    echo /usr/local/cuda-12.4/lib64/stubs >"$root/etc/ld.so.conf.d/000-cuda.conf"
    systemctl start "cuda-nspawn@$guest"
    _finds guest-stub "warning: " "STUB_LIBRARY (34)" /usr/local/cuda-12.4/lib64/stubs
    wait_until 30 has_booted "$guest"
    _mend
    _is_well
    _discharged
}

an_empty_library_that_another_tool_left() {
    _new_guest
    touch "$root/usr/lib/x86_64-linux-gnu/libcuda.so.1"
    systemctl start "cuda-nspawn@$guest"
    _finds guest-empty-library "warning: " "file too short"
    wait_until 30 has_booted "$guest"
    _mend
    _is_well
    _discharged
}

a_library_path_for_a_service() {
    _new_guest
    _bundles /srv/old/lib $copied
    mkdir -p "$root/etc/systemd/system"
    printf '%s\n' '[Service]' 'Environment=LD_LIBRARY_PATH=/srv/old/lib' 'ExecStart=/usr/local/bin/worker' >"$root/etc/systemd/system/worker.service"
    _program /usr/local/bin/worker
    systemctl start "cuda-nspawn@$guest"
    _finds library-path-wins "warning: " "worker.service:2" "/srv/old/lib" "$copied"
    # The same of the program that the service runs: there it is an error.
    _finds_with "--program /usr/local/bin/worker" program-finds-other-libcuda "error: " LD_LIBRARY_PATH
    wait_until 30 has_booted "$guest"
    _finds library-path-wins
    _mend
    _finds guest-libcuda /srv/old/lib || :
    lacks "what is found" "$(_diagnosis | _codes_in)" library-path-wins
    lacks "what is found of the program" "$(_diagnosis --program /usr/local/bin/worker | _codes_in)" program-
    _discharged
}

a_library_that_is_preloaded() {
    _new_guest
    _bundles /srv/old/lib $copied
    echo 'LD_PRELOAD=/srv/old/lib/libcuda.so.1' >"$root/etc/environment"
    systemctl start "cuda-nspawn@$guest"
    _finds library-preloaded "/etc/environment:1"
    wait_until 30 has_booted "$guest"
    _mend
    lacks "what is found" "$(_diagnosis | _codes_in)" library-preloaded
    _discharged
}

gpus_that_are_hidden_by_a_variable() {
    _new_guest
    mkdir -p "$root/etc/systemd/system.conf.d"
    printf '%s\n' '[Manager]' 'DefaultEnvironment=CUDA_VISIBLE_DEVICES=-1' >"$root/etc/systemd/system.conf.d/gpu.conf"
    systemctl start "cuda-nspawn@$guest"
    _finds gpus-hidden "error: " CUDA_VISIBLE_DEVICES /etc/systemd/system.conf.d/gpu.conf:2
    wait_until 30 has_booted "$guest"
    _mend
    _is_well
    _discharged
}

# The guest really loads another library then: its own root takes the driver out of its cache.
a_loader_that_prefers_the_guests_own() {
    _new_guest
    _bundles /usr/lib/x86_64-linux-gnu $copied
    systemctl start "cuda-nspawn@$guest"
    wait_until 30 has_booted "$guest"
    in_guest "$guest" sh -c 'rm /etc/ld.so.conf.d/00-cuda-nspawn.conf; ldconfig'
    cuda-nspawnctl test "$guest" || :
    _finds libcuda-in-the-way "error: " /usr/lib/x86_64-linux-gnu "explains self-test-failed"
    _mend
    cuda-nspawnctl attach --fresh --test "$guest"
    lacks "what is found" "$(_diagnosis | _codes_in)" libcuda-in-the-way
    _discharged
}

a_loader_cache_without_the_driver() {
    _new_guest
    systemctl start "cuda-nspawn@$guest"
    wait_until 30 has_booted "$guest"
    in_guest "$guest" sh -c 'rm /etc/ld.so.conf.d/00-cuda-nspawn.conf; ldconfig'
    cuda-nspawnctl test "$guest" || :
    _finds loader-cache-stale "error: " /etc/ld.so.cache "explains self-test-failed"
    _mend
    cuda-nspawnctl attach --fresh --test "$guest"
    _is_well
    _discharged
}

_toolkit() {    # VERSION
    mkdir -p "$root/usr/local/cuda-${1%.*}"
    printf '{"cuda": {"name": "CUDA SDK", "version": "%s"}}\n' "$1" >"$root/usr/local/cuda-${1%.*}/version.json"
}

a_toolkit_that_needs_a_newer_driver() {
    _new_guest
    _known_driver 550.163.01
    _toolkit 13.0.1
    systemctl start "cuda-nspawn@$guest"
    _finds toolkit-needs-newer-driver "warning: " "toolkit 13.0.1 in /usr/local/cuda-13.0 needs driver 580.65.06 or newer" "cudaErrorInsufficientDriver"
    rm -r "$root/usr/local/cuda-13.0"
    _toolkit 12.8.1    # of the driver's major: minor-version compatibility
    _is_well
    _discharged
}

a_toolkit_that_is_too_old_for_the_gpu() {
    _new_guest
    _known_driver
    _toolkit 11.7.1
    systemctl start "cuda-nspawn@$guest"
    wait_for_verdict "$guest" 0
    _finds toolkit-too-old-for-gpu "warning: " 11.7.1 "9.0"
    rm -r "$root/usr/local/cuda-11.7"
    _is_well
    _discharged
}

a_wheel_that_needs_a_newer_driver() {
    _new_guest
    _known_driver 550.163.01
    mkdir -p "$root/opt/venv/lib/python3.13/site-packages/cupy_cuda13x-13.6.0.dist-info"
    _finds packages-need-newer-driver "cupy-cuda13x 13.6.0 in /opt/venv/lib/python3.13/site-packages" "CUDA 13" "cupy-cuda12x"
    rm -r "$root/opt/venv"
    mkdir -p "$root/opt/venv/lib/python3.13/site-packages/cupy_cuda12x-13.6.0.dist-info"
    _is_well
    has "the recommendation" "$(_diagnosis)" "driver 550.163.01" cu12x
    _discharged
}

a_compat_library_that_does_not_fit() {
    _new_guest
    _known_driver
    _bundles /usr/local/cuda-12.2/compat 535.104.05
    _finds guest-compat "info: " 535.104.05
    # As images for other container tools have it.
    echo 'LD_LIBRARY_PATH=/usr/local/cuda-12.2/compat' >"$root/etc/environment"
    has "the diagnosis" "$(_diagnosis)" "[compat-does-not-fit]" "SYSTEM_DRIVER_MISMATCH (803)" "/etc/environment:1"
    rm "$root/etc/environment"
    rm -r "$root/usr/local/cuda-12.2"
    _is_well
    _discharged
}

containers_in_the_machine() {
    _new_guest
    cp /bin/true "$root/usr/bin/podman"
    _finds nested-containers "info: " podman
    mkdir -p "$root/etc/cdi"
    printf 'cdiVersion: 0.6.0\nkind: nvidia.com/gpu\n' >"$root/etc/cdi/nvidia.yaml"
    _is_well
    _discharged
}

programs_of_every_kind() {
    _new_guest
    _bundles /srv/own/lib $copied
    _program /opt/by-rpath -Wl,-rpath,/srv/own/lib,--disable-new-dtags
    _finds_with "--program /opt/by-rpath" program-finds-other-libcuda "libcuda.so.1 ($copied) in /srv/own/lib"
    # shellcheck disable=SC2016 # for the loader
    _program /opt/by-runpath '-Wl,-rpath,$ORIGIN/../srv/own/lib'
    _finds_with "--program /opt/by-runpath" program-finds-other-libcuda
    _program /opt/plain
    _finds_with "--program /opt/plain --library-path /srv/own/lib" program-finds-other-libcuda
    lacks "what is found of a plain one" "$(_diagnosis --program /opt/plain | _codes_in)" program-
    _finds_with "--program /opt/nothing" program-missing
    cp "$root/opt/plain" "$root/opt/other-loader"
    sed -i 's,/lib64/ld-linux-x86-64.so.2,/lib64/ld-nowhere-86-64.so.,' "$root/opt/other-loader"
    _finds_with "--program /opt/other-loader" program-no-loader /lib64/ld-nowhere-86-64.so.
    sed 's,libcuda.so.1,libnone.so.1,g' "$root/opt/plain" >"$root/opt/other-library"
    chmod 755 "$root/opt/other-library"
    _finds_with "--program /opt/other-library" program-library-missing libnone.so.1
    _discharged
}

# A root that was made to keep whoever looks into it.
a_hostile_root_is_looked_at_in_bounded_time() {
    local begin
    command -v python3 >/dev/null || skip "this lab has no python3"
    _new_guest
    (
        cd "$root/opt" || exit
        mkfifo fifo
        ln -s loop loop
        ln -s /proc/self/root/etc/shadow escape
        mkdir lib many
        truncate -s 1T lib/libcuda.so.1
        python3 -c 'for i in range(100000): open(f"many/{i}", "w").close()'
        python3 -c 'import os; [(os.mkdir("d"), os.chdir("d")) for _ in range(1000)]'
        rm -f "$root/etc/ld.so.cache"
        ln -s /dev/zero "$root/etc/ld.so.cache"
    )
    begin=$EPOCHREALTIME
    _diagnosis
    [ $((${EPOCHREALTIME/./} - ${begin/./})) -lt 5000000 ]
    rm -rf "${root:?}"
    _discharged
}

# What the guest's C library does not have is made up in the program's own table of versions.
a_program_for_a_newer_c_library() {
    _new_guest
    _program /opt/newer
    sed -i 's/GLIBC_2\.34/GLIBC_2.99/' "$root/opt/newer"
    _finds_with "--program /opt/newer" program-needs-newer-glibc "needs glibc 2.99"
    _discharged
}

# shellcheck shell=bash disable=SC2154 # the pieces of a suite share its variables
# What a CUDA Toolkit at build time is for: its assembler checks the kernels of the self-test. None is needed.

kernels=$scratch/sources/daemon/inside/self-test/kernels.ptx

_configure() {    # OPTION…
    rm -rf "$scratch/sources" "$scratch/configured"
    mkdir -p "$scratch/sources"
    cp -r /src/{CMakeLists.txt,daemon,docs,machines,units} "$scratch/sources"
    cmake -G Ninja -S "$scratch/sources" -B "$scratch/configured" -DBUILD_TESTING=OFF "$@" >/dev/null
}

_check_kernels() { ninja -C "$scratch/configured" check_kernels; }
_whole_build() { ninja -C "$scratch/configured" -t commands all; }

# Times of files are those of the clock's last tick, and ninja compares them.
_later() { sleep 0.05; }

# In the place of ptxas, found before a real one: does not know sm_30 and sm_35, as that of CUDA 12 and newer, writes down
# what it was asked, and ends with the status in `ends`.
_stand_in_for_ptxas() {
    mkdir -p "$scratch/toolkit"
    cat >"$scratch/toolkit/ptxas" <<END
#!/bin/sh
case \$1 in
    -arch=sm_3*) echo "ptxas fatal   : Value '\${1#-arch=}' is not defined for option 'gpu-name'" >&2; exit 1 ;;
esac
echo "\$*" >>$scratch/toolkit/asked
touch "\$3"
exit "\$(cat $scratch/toolkit/ends)"
END
    chmod +x "$scratch/toolkit/ptxas"
    echo 0 >"$scratch/toolkit/ends"
}

the_build_has_ptxas_check_the_kernels_for_the_oldest_GPU_it_knows() {
    _stand_in_for_ptxas
    PATH=$scratch/toolkit:$PATH _configure
    _check_kernels
    has "what ptxas was asked" "$(tail -n 1 "$scratch/toolkit/asked")" "-arch=sm_50 " "$kernels"
    # Nobody has to ask for it.
    has "what a whole build does" "$(_whole_build)" "$scratch/toolkit/ptxas"
    echo 1 >"$scratch/toolkit/ends"
    _later
    touch "$kernels"
    refused _check_kernels
}

kernels_that_are_wrong_fail_the_build_where_a_CUDA_Toolkit_is() {
    _configure
    grep -q '^PTXAS:FILEPATH=/' "$scratch/configured/CMakeCache.txt" || skip "this lab has no CUDA Toolkit"
    _check_kernels
    _later
    echo 'add.u32 %nothing, 1;' >>"$kernels"
    refused _check_kernels
}

without_a_CUDA_Toolkit_the_build_goes_without() {
    _configure -DPTXAS=OFF
    has "what a whole build does" "$(_whole_build)" kernels.ptx
    lacks "what a whole build does" "$(_whole_build)" ptxas
}

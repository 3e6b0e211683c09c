#!/bin/bash
# Puts a runnable llama-server (and llama-quantize) from Debian sid into the folder $1, on any
# amd64 Debian or its like with apt-get and dpkg-deb. Needs no root and changes nothing on the
# system: the programs run with sid's own libc from that folder. The program is written last.
set -euo pipefail
folder=$(realpath -m "${1:?usage: install.sh FOLDER}")
apt=$folder/apt root=$folder/root
rm -rf "$apt" "$root" "$folder/debs" # what an interrupted run left
mkdir -p "$apt"/{state/lists/partial,cache/archives/partial} "$folder/debs" "$root"
touch "$apt/status"

# Packages come from the mirror that this machine already uses.
site=$(apt-get indextargets --format '$(SITE)' | grep -v security | head -1)
cat > "$apt/sources.list" <<END
deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] ${site:?no Debian mirror is configured on this machine} sid main
END
cat > "$apt/apt.conf" <<END
Dir::State "$apt/state"; Dir::State::status "$apt/status"; Dir::Cache "$apt/cache";
Dir::Etc::sourcelist "$apt/sources.list"; Dir::Etc::sourceparts "/dev/null"; Dir::Etc::preferencesparts "/dev/null";
APT::Architecture "amd64"; APT::Sandbox::User "$(id -un)"; Acquire::Languages "none";
END
export APT_CONFIG=$apt/apt.conf
apt-get -qq -o Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false update
cd "$folder/debs"
apt-get -qq download libc6 libgcc-s1 libstdc++6 libgomp1 libssl3t64 libzstd1 zlib1g libggml0 libllama0 llama.cpp-tools patchelf
for deb in *.deb; do dpkg-deb -x "$deb" "$root"; done

# Programs and libraries look for each other in the folder, never in the system.
lib=$root/usr/lib/x86_64-linux-gnu
loader=$lib/ld-linux-x86-64.so.2
patch() { "$loader" --library-path "$lib" "$root/usr/bin/patchelf" "$@"; }
for program in llama-server llama-quantize; do
	patch --set-interpreter "$loader" --force-rpath --set-rpath "$lib:$lib/llama" "$root/usr/bin/$program"
done
for library in "$lib"/llama/*.so "$lib"/libllama*.so.*.* "$lib"/libggml*.so.*.* "$lib"/libmtmd*.so.*.* "$lib"/ggml/backends0/*.so; do
	[ -L "$library" ] || patch --force-rpath --set-rpath "$lib:$lib/llama" "$library"
done

cpu=x64
grep -q avx2 /proc/cpuinfo && cpu=haswell
wrap() {
	printf '#!/bin/sh\nunset LD_LIBRARY_PATH\nexport GGML_BACKEND_PATH=%s\nexec %s "$@"\n' \
		"$lib/ggml/backends0/libggml-cpu-$cpu.so" "$root/usr/bin/$1" > "$folder/$2"
	chmod +x "$folder/$2"
}
wrap llama-quantize llama-quantize
wrap llama-server llama-server.new
"$folder/llama-server.new" --version # it runs, or the installation fails here
mv "$folder/llama-server.new" "$folder/llama-server"

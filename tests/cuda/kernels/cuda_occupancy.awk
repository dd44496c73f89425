# Prints what each kernel needs and how many of its warps a multiprocessor holds, from its PTX and from what ptxas says
# of it. Exit code 1 if one spills registers, or if fewer blocks fit than its __launch_bounds__ ask for.
# usage: awk -v architecture=90 -f cuda_occupancy.awk KERNELS.ptx PTXAS.log        (names stay mangled: pipe into c++filt)
#
# Rules of the CUDA Programming Guide and its occupancy calculator: registers are handed out 256 at a time for each warp,
# to four warps together; shared memory 128 bytes at a time, of which each block also costs 1 KiB.
function least(a, b) { return a < b ? a : b }
function up(n, step) { return int((n + step - 1) / step) * step }
BEGIN {
  # Warps, blocks and KiB of shared memory of a multiprocessor.
  limits["80"] = "64 32 164"; limits["86"] = "48 16 100"; limits["89"] = "48 24 100"
  limits["90"] = limits["100"] = "64 32 228"
  if (split(limits[architecture], limit) != 3) { print "no limits of sm_" architecture " are known here"; failed = 1; exit }
  warps = limit[1]; blocks = limit[2]; kib = limit[3]
}
# PTX: an entry's name, the threads of its blocks, the blocks it wants on a multiprocessor, its dynamic shared memory.
FILENAME == ARGV[1] {
  if (match($0, /\.entry [A-Za-z0-9_$]+/)) kernel = substr($0, RSTART + 7, RLENGTH - 7)
  if (match($0, /\.maxntid [0-9, ]+/)) { split(substr($0, RSTART + 9, RLENGTH - 9), size, /, */); threads[kernel] = size[1] * (size[2] ? size[2] : 1) * (size[3] ? size[3] : 1) }
  if (match($0, /\.minnctapersm [0-9]+/)) wanted[kernel] = substr($0, RSTART + 14, RLENGTH - 14) + 0
  if (match($0, /\/\/ shared_memory [0-9]+/)) { bytes = substr($0, RSTART + 17, RLENGTH - 17) + 0; if (bytes > dynamic[kernel]) dynamic[kernel] = bytes }
  next
}
/Compiling entry function/ { match($0, /\x27[^\x27]+\x27/); name = substr($0, RSTART + 1, RLENGTH - 2) }
/bytes spill stores/ { spilled = $0 !~ / 0 bytes spill stores, 0 bytes spill loads/; spills = $0; sub(/^.*stack frame, */, "", spills) }
/Used [0-9]+ registers/ {
  match($0, /Used [0-9]+/); registers = substr($0, RSTART + 5, RLENGTH - 5) + 0
  shared = dynamic[name] + 0
  if (match($0, /[0-9]+ bytes smem/)) shared += substr($0, RSTART, RLENGTH) + 0
  line = name " needs " registers " registers, " shared " bytes of shared memory"
  if (threads[name] > 0) {
    own = int((threads[name] + 31) / 32)
    of_registers = int(int(65536 / up(registers * 32, 256) / 4) * 4 / own)
    of_shared = int(kib * 1024 / (up(shared, 128) + 1024))
    fit = least(least(blocks, int(warps / own)), least(of_registers, of_shared))
    why = fit == of_registers && of_registers <= of_shared ? "registers" : fit == of_shared ? "shared memory" : "the number of " (fit == blocks ? "blocks" : "warps")
    if (fit == int(warps / own)) why = ""
    line = line sprintf(", %d threads: %d blocks, %d %% of the warps%s", threads[name], fit, 100 * fit * own / warps, why == "" ? "" : ", limited by " why)
    if (fit < 1 || fit < wanted[name]) { line = line "; TOO FEW: " wanted[name] " blocks are wanted"; bad = 1 }
  }
  if (spilled) { line = line "; SPILLS: " spills; bad = 1 }
  print line
}
END { exit failed + bad > 0 }

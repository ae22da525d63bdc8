// How fast a GPU reads its own memory: what a forward pass over resident weights cannot beat.
#pragma once

namespace reprefill::benchmarks {

/// Bytes a second of a kernel that only reads, in 16-byte loads over 4 GiB: the median of seven runs. Takes that much
/// memory meanwhile. Throws MachineError.
double measured_read_bytes_per_s();

}  // namespace reprefill::benchmarks

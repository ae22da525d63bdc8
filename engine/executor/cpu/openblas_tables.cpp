// OpenBLAS's archive holds every kernel once for each of 20 kinds of CPU, behind a table for each: 25 MB, of which CPUs
// beside a GPU of compute capability 8.0 use the tables of Haswell, Zen, Skylake-X and Cooper Lake: 6 MB. The tables
// below take the place of the others in what is carried over (REPREFILL_CARRIED), so that their kernels are not linked.
// They are empty: on a CPU without AVX2 OpenBLAS ends the program as it starts, with "Architecture Initialization
// failed". What is computed elsewhere is the same, bit for bit.
namespace reprefill::engine::detail {
struct alignas(64) EmptyTable {
  char bytes[8192];  // OpenBLAS 0.3.21 reads the first 4,736
};
}  // namespace reprefill::engine::detail

extern "C" {
reprefill::engine::detail::EmptyTable gotoblas_ATOM, gotoblas_BARCELONA, gotoblas_BOBCAT, gotoblas_BULLDOZER,
    gotoblas_CORE2, gotoblas_DUNNINGTON, gotoblas_EXCAVATOR, gotoblas_NANO, gotoblas_NEHALEM, gotoblas_OPTERON,
    gotoblas_OPTERON_SSE3, gotoblas_PENRYN, gotoblas_PILEDRIVER, gotoblas_PRESCOTT, gotoblas_SANDYBRIDGE,
    gotoblas_STEAMROLLER;
}

// The ranks of an MPI job as workers of a sweep: rank 0 keeps the results and hands out indices one at a time, so that
// ranks of any speed end together.
#pragma once

#include <exception>
#include <memory>
#include <string>

#include "sim/sweep/distributor.hpp"

namespace reprefill::sim {

/// Thrown in a rank that was told to end: another one failed, or the user interrupted.
class EndedByKeeper : public std::exception {
 public:
  const char* what() const noexcept override { return "ended by rank 0"; }
};

/// Lives from MPI_Init to MPI_Finalize; one per process. Rank 0 works too, on a thread beside the one that talks. A
/// rank that dies takes the job with it, as mpirun does it; what rank 0 has appended to the journal stays.
class MpiDistributor final : public Distributor {
 public:
  MpiDistributor(int* argc, char*** argv);
  ~MpiDistributor() override;

  void run(const std::vector<double>& costs, const Work& work, const Keep& keep,
           const std::atomic<bool>& interrupted) override;
  std::size_t num_workers() const override;
  bool keeps_results() const override;
  Json from_keeper(Json value) override;

  /// Before the process ends, in every rank: `code` and `message` of its own failure, 0 where there was none. Returns
  /// the code that the whole job ends with: rank 0's.
  int finish(int code, const std::string& message);

 private:
  struct State;
  void follow(const Work& work);
  int finish_leading(int code);

  std::unique_ptr<State> state_;
};

}  // namespace reprefill::sim

#include "sim/sweep/mpi/mpi_distributor.hpp"

#define OMPI_SKIP_MPICXX 1
#include <mpi.h>

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <deque>
#include <map>
#include <mutex>
#include <numeric>
#include <optional>
#include <thread>

#include "core/base/error.hpp"

namespace reprefill::sim {
namespace {

// Between rank 0 and each other rank. All bodies are text.
//   to 0:   ready | result {"index", "value"} | failure {"index", "code", "message"} | bye
//   from 0: index | idle (no more of this run) | value (from_keeper) | end (exit code)
enum Tag : int { kReady = 1, kResult, kFailure, kBye, kIndex, kIdle, kValue, kEnd };

struct Message {
  int rank = 0;
  int tag = 0;
  std::string text;
};

void check(int status, const char* call) {
  if (status == MPI_SUCCESS) return;
  char text[MPI_MAX_ERROR_STRING];
  int length = 0;
  MPI_Error_string(status, text, &length);
  throw MachineError(fmt::format("{}: {}", call, std::string(text, static_cast<std::size_t>(length))));
}

void send(int rank, Tag tag, const std::string& text) {
  check(MPI_Send(text.data(), static_cast<int>(text.size()), MPI_CHAR, rank, tag, MPI_COMM_WORLD), "MPI_Send");
}

std::optional<Message> try_receive() {
  int arrived = 0;
  MPI_Status status;
  check(MPI_Iprobe(MPI_ANY_SOURCE, MPI_ANY_TAG, MPI_COMM_WORLD, &arrived, &status), "MPI_Iprobe");
  if (arrived == 0) return std::nullopt;
  int size = 0;
  check(MPI_Get_count(&status, MPI_CHAR, &size), "MPI_Get_count");
  Message message{status.MPI_SOURCE, status.MPI_TAG, std::string(static_cast<std::size_t>(size), '\0')};
  check(MPI_Recv(message.text.data(), size, MPI_CHAR, message.rank, message.tag, MPI_COMM_WORLD, MPI_STATUS_IGNORE),
        "MPI_Recv");
  return message;
}

/// Sleeps between looks: a waiting rank that spins would take a core from those that work.
class Patience {
 public:
  void wait() {
    std::this_thread::sleep_for(pause_);
    pause_ = std::min(pause_ * 2, std::chrono::microseconds(1000));
  }
  void reset() { pause_ = std::chrono::microseconds(20); }

 private:
  std::chrono::microseconds pause_{20};
};

Message receive() {
  for (Patience patience;; patience.wait()) {
    if (std::optional<Message> message = try_receive()) return std::move(*message);
  }
}

struct Failure {
  int code = 0;
  std::string message;

  [[noreturn]] void raise() const {
    if (code == static_cast<int>(ExitCode::input)) throw ConfigError(message);
    if (code == static_cast<int>(ExitCode::interrupted)) throw Interrupted();
    throw MachineError(message);
  }
};

Failure failure_of(const std::exception_ptr& exception) {
  try {
    std::rethrow_exception(exception);
  } catch (const ConfigError& error) {
    return {static_cast<int>(ExitCode::input), error.what()};
  } catch (const Interrupted& error) {
    return {static_cast<int>(ExitCode::interrupted), error.what()};
  } catch (const std::exception& error) {
    return {static_cast<int>(ExitCode::machine), error.what()};
  }
}

/// Rank 0's own worker: a thread that is given one index at a time, while the thread that made it talks to the others.
class LocalWorker {
 public:
  explicit LocalWorker(const Distributor::Work& work) : work_(work), thread_([this] { loop(); }) {}
  ~LocalWorker() {
    {
      const std::lock_guard lock(mutex_);
      ends_ = true;
    }
    changed_.notify_one();
  }

  struct Outcome {
    std::size_t index = 0;
    Json value;
    std::exception_ptr failure;
  };

  void give(std::size_t index) {
    {
      const std::lock_guard lock(mutex_);
      next_ = index;
    }
    busy_ = true;
    changed_.notify_one();
  }
  bool busy() const { return busy_; }
  std::optional<Outcome> take_outcome() {
    const std::lock_guard lock(mutex_);
    if (!outcome_) return std::nullopt;
    busy_ = false;
    return std::exchange(outcome_, std::nullopt);
  }

 private:
  void loop() {
    std::unique_lock lock(mutex_);
    while (true) {
      changed_.wait(lock, [&] { return next_.has_value() || ends_; });
      if (ends_) return;
      Outcome outcome{.index = *std::exchange(next_, std::nullopt), .value = {}, .failure = {}};
      lock.unlock();
      try {
        outcome.value = work_(outcome.index);
      } catch (...) {
        outcome.failure = std::current_exception();
      }
      lock.lock();
      outcome_ = std::move(outcome);
    }
  }

  const Distributor::Work& work_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::optional<std::size_t> next_;
  std::optional<Outcome> outcome_;
  bool ends_ = false;
  bool busy_ = false;  // of the thread that gives and takes
  std::jthread thread_;
};

std::deque<std::size_t> costliest_first(const std::vector<double>& costs) {
  std::deque<std::size_t> order(costs.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) { return costs[a] > costs[b]; });
  return order;
}

/// One run as rank 0 sees it.
class Lead {
 public:
  Lead(const std::vector<double>& costs, const Distributor::Work& work, const Distributor::Keep& keep, int num_ranks)
      : todo_(costliest_first(costs)), keep_(keep), worker_(work), num_following_(num_ranks - 1) {}

  void run(const std::atomic<bool>& interrupted) {
    Patience patience;
    while (num_following_ > 0 || worker_.busy() || !todo_.empty()) {
      if (interrupted || !failures_.empty()) todo_.clear();
      if (!todo_.empty() && !worker_.busy()) worker_.give(take_next());
      if (listen() || collect()) {
        patience.reset();
      } else {
        patience.wait();
      }
    }
    if (interrupted) throw Interrupted();
    if (!failures_.empty()) failures_.begin()->second.raise();
  }

 private:
  std::size_t take_next() {
    const std::size_t index = todo_.front();
    todo_.pop_front();
    return index;
  }

  /// The next index before the row is kept: writing it to the disk must not hold the other rank up.
  bool listen() {
    const std::optional<Message> message = try_receive();
    if (!message) return false;
    if (message->tag == kFailure) note(Json::parse(message->text));
    if (todo_.empty() || !failures_.empty()) {
      send(message->rank, kIdle, "");
      --num_following_;
    } else {
      send(message->rank, kIndex, std::to_string(take_next()));
    }
    if (message->tag == kResult) {
      Json result = Json::parse(message->text);
      keep_(result.at("index").get<std::size_t>(), std::move(result.at("value")));
    }
    return true;
  }

  bool collect() {
    std::optional<LocalWorker::Outcome> outcome = worker_.take_outcome();
    if (!outcome) return false;
    if (outcome->failure) {
      failures_[outcome->index] = failure_of(outcome->failure);
    } else {
      keep_(outcome->index, std::move(outcome->value));
    }
    return true;
  }

  void note(const Json& failure) {
    failures_[failure.at("index").get<std::size_t>()] = {failure.at("code").get<int>(),
                                                         failure.at("message").get<std::string>()};
  }

  std::deque<std::size_t> todo_;
  const Distributor::Keep& keep_;
  LocalWorker worker_;
  int num_following_;  // ranks that were not told that nothing is left
  std::map<std::size_t, Failure> failures_;
};

}  // namespace

struct MpiDistributor::State {
  int rank = 0;
  int num_ranks = 1;
  std::optional<int> ended;  // rank 0 said so, with the job's exit code

  /// In a rank that follows: what rank 0 says, unless it says that all is over.
  Message receive_order() {
    Message message = receive();
    if (message.tag != kEnd) return message;
    ended = std::stoi(message.text);
    throw EndedByKeeper();
  }
};

MpiDistributor::MpiDistributor(int* argc, char*** argv) : state_(std::make_unique<State>()) {
  int provided = 0;
  check(MPI_Init_thread(argc, argv, MPI_THREAD_FUNNELED, &provided), "MPI_Init_thread");
  if (provided < MPI_THREAD_FUNNELED) {
    throw MachineError("MPI_Init_thread: this MPI allows no threads beside the one that calls it");
  }
  MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN);
  MPI_Comm_rank(MPI_COMM_WORLD, &state_->rank);
  MPI_Comm_size(MPI_COMM_WORLD, &state_->num_ranks);
}

MpiDistributor::~MpiDistributor() { MPI_Finalize(); }

std::size_t MpiDistributor::num_workers() const { return static_cast<std::size_t>(state_->num_ranks); }
bool MpiDistributor::keeps_results() const { return state_->rank == 0; }

Json MpiDistributor::from_keeper(Json value) {
  if (!keeps_results()) return Json::parse(state_->receive_order().text);
  for (int rank = 1; rank < state_->num_ranks; ++rank) send(rank, kValue, value.dump());
  return value;
}

void MpiDistributor::run(const std::vector<double>& costs, const Work& work, const Keep& keep,
                         const std::atomic<bool>& interrupted) {
  if (keeps_results()) {
    Lead(costs, work, keep, state_->num_ranks).run(interrupted);
  } else {
    follow(work);
  }
}

void MpiDistributor::follow(const Work& work) {
  send(0, kReady, "");
  for (Message order = state_->receive_order(); order.tag == kIndex; order = state_->receive_order()) {
    const std::size_t index = std::stoull(order.text);
    try {
      send(0, kResult, Json{{"index", index}, {"value", work(index)}}.dump());
    } catch (...) {
      const Failure failure = failure_of(std::current_exception());
      send(0, kFailure, Json{{"index", index}, {"code", failure.code}, {"message", failure.message}}.dump());
    }
  }
}

int MpiDistributor::finish(int code, const std::string& message) {
  if (keeps_results()) return finish_leading(code);
  if (!state_->ended && code != 0) {
    send(0, kFailure, Json{{"index", 0}, {"code", code}, {"message", message}}.dump());
  }
  while (!state_->ended) {
    const Message order = receive();
    if (order.tag == kEnd) state_->ended = std::stoi(order.text);
  }
  send(0, kBye, "");
  return *state_->ended;
}

/// Whatever a rank still sends is taken, so that none waits for ever; its last word is the bye.
int MpiDistributor::finish_leading(int code) {
  for (int rank = 1; rank < state_->num_ranks; ++rank) send(rank, kEnd, std::to_string(code));
  for (int num_ended = 1; num_ended < state_->num_ranks;) {
    const Message last = receive();
    num_ended += last.tag == kBye;
    if (last.tag != kFailure || code != 0) continue;
    // It failed before there was anything to do, in a sweep that was complete: the user still hears of it.
    const Json failure = Json::parse(last.text);
    code = failure.at("code").get<int>();
    fmt::print(stderr, "reprefill: rank {}: {}\n", last.rank, failure.at("message").get<std::string>());
  }
  return code;
}

}  // namespace reprefill::sim

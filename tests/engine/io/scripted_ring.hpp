// A ring that does what a test says: reads complete when told, in the order told, with the result told.
#pragma once

#include <functional>
#include <memory>
#include <vector>

#include "engine/io/read_ring.hpp"

namespace reprefill::engine {

/// Outlives the ring, so that a test can look at what happened after the reader is gone.
struct RingScript {
  /// The result of a read: up to that many bytes are really read from the file. Default: all of them.
  std::function<int(const RingRead&)> result = [](const RingRead& read) { return static_cast<int>(read.bytes); };
  /// What submit() answers for so many prepared reads: how many it takes, or an errno, negative. Default: all.
  std::function<int(std::size_t)> submit = [](std::size_t num_prepared) { return static_cast<int>(num_prepared); };
  bool moves_bytes = true;

  std::vector<RingRead> begun;    // every read that was handed over, in order
  std::vector<RingRead> waiting;  // of them, those without a completion
  std::size_t most_waiting = 0;
};

/// `complete` ends reads from outside; `wait` ends the oldest one, as a device does sooner or later.
class ScriptedRing final : public ReadRing {
 public:
  explicit ScriptedRing(RingScript& script);
  ~ScriptedRing() override;

  void complete(std::size_t index_in_waiting);
  void complete_all();

  void add_file(int descriptor) override { descriptors_.push_back(descriptor); }
  void prepare(const RingRead& read) override { prepared_.push_back(read); }
  std::size_t num_prepared() const override { return prepared_.size(); }
  int submit() override;
  std::optional<RingCompletion> next_completion() override;
  void wait() override;
  int event_fd() const override { return event_fd_; }
  std::string describe() const override { return "scripted"; }

 private:
  RingScript& script_;
  int event_fd_;
  std::vector<int> descriptors_;
  std::vector<RingRead> prepared_;
  std::vector<RingCompletion> completions_;
};

}  // namespace reprefill::engine

// Copies between host buffers, and what the engine's own software costs: hand-overs between threads, selection,
// tokenising, look-up, cache bookkeeping.
#pragma once

#include <memory>
#include <vector>

#include "calibrate/meter/measurement.hpp"
#include "engine/tokenizer/tokenizer.hpp"

namespace reprefill::calibrate {

///   copy          {bytes}        ns          one thread's memcpy between buffers that no cache holds
///   hand_over     {}             start_ns, notice_ns   to a lane's thread, and back to the driver
///   select        {candidates}   ns          5 % of them
///   tokenise      {bytes}        ns, tokens  of a text; only with a tokenizer
///   look_up       {blocks}       ns          a prefix of so many blocks in the segment tree, all stored
///   cache_update  {pieces}       ns          note, look up, admit and unpin, in a full cache
std::vector<std::unique_ptr<Cell>> host_cells(bool full, const engine::Tokenizer* tokenizer, Clock& clock);

}  // namespace reprefill::calibrate

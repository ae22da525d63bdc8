// The same reads in fio's language: a job file for anyone to check ours with, and its JSON result in place of ours.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "calibrate/storage/cells.hpp"

namespace reprefill::calibrate {

/// A job file that measures the grid's reads: `fio --output-format=json --output=fio.json fio.job`.
std::string fio_job(const StorageGrid& grid, const std::filesystem::path& folder, Bytes span);

/// Reads of a fio JSON result as measured cells, one sample each: jobs that read with `bs` and `iodepth` (given by the
/// job or by [global]), direct. Throws ConfigError naming file and job for what cannot be used: buffered reads, jobs
/// that write, sizes that differ within a job, results of nothing.
std::vector<Measured> read_fio_result(const std::filesystem::path& path);
std::vector<Measured> parse_fio_result(const Json& json, const std::string& origin);

}  // namespace reprefill::calibrate

// A sum over bytes that tells damage from whole data. No defence against who means harm. Its values are stored in
// files.
#ifndef PYFLOW_CORE_CHECKSUM_H
#define PYFLOW_CORE_CHECKSUM_H

#include <cstdint>
#include <cstring>
#include <span>

namespace pf {

// Eight lanes, each total = rotate(total ^ word, 29) * prime over every eighth little-endian word, then the lanes, the
// rest byte by byte and the length likewise. A changed word changes its lane, and nothing after that undoes it.
inline uint64_t checksum(std::span<const uint8_t> data) {
  constexpr uint64_t kPrime = 0x9E3779B97F4A7C15;
  constexpr size_t kLanes = 8, kBlock = kLanes * sizeof(uint64_t);
  auto next = [](uint64_t total, uint64_t word) {
    const uint64_t mixed = total ^ word;
    return (mixed << 29 | mixed >> 35) * kPrime;
  };
  uint64_t lanes[kLanes];
  for (size_t lane = 0; lane < kLanes; ++lane) lanes[lane] = lane + 1;
  size_t at = 0;
  for (; at + kBlock <= data.size(); at += kBlock) {
    uint64_t words[kLanes];
    std::memcpy(words, data.data() + at, kBlock);
    for (size_t lane = 0; lane < kLanes; ++lane) lanes[lane] = next(lanes[lane], words[lane]);
  }
  uint64_t total = data.size();
  for (uint64_t lane : lanes) total = next(total, lane);
  for (; at < data.size(); ++at) total = next(total, data[at]);
  return total;
}

}  // namespace pf

#endif

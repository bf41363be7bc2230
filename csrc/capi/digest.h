// SHA-256 (FIPS 180-4).
#ifndef PYFLOW_CAPI_DIGEST_H
#define PYFLOW_CAPI_DIGEST_H

#include <cstdint>
#include <span>
#include <string>

namespace pf {

class Sha256 {
 public:
  void add(std::span<const uint8_t> bytes);
  // 64 lower-case hexadecimal digits; ends the sum.
  std::string hex();

 private:
  void block(const uint8_t* bytes);

  uint32_t state_[8] = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};
  uint8_t pending_[64];
  uint64_t length_ = 0;
};

}  // namespace pf

#endif

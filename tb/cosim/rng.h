// xoshiro256** seeded by splitmix64: the same numbers on every machine. One stream per purpose.
#pragma once
#include <cstdint>

namespace myr {

class Rng {
  public:
    Rng(uint64_t seed, uint64_t stream) {
        uint64_t x = seed ^ (stream * 0xD1342543DE82EF95ULL);
        for (uint64_t& word : state_) {
            x += 0x9E3779B97F4A7C15ULL;
            uint64_t z = x;
            z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ULL;
            z = (z ^ (z >> 27)) * 0x94D049BB133111EBULL;
            word = z ^ (z >> 31);
        }
    }

    uint64_t next() {
        const uint64_t result = rotl(state_[1] * 5, 7) * 9;
        const uint64_t t = state_[1] << 17;
        state_[2] ^= state_[0];
        state_[3] ^= state_[1];
        state_[1] ^= state_[2];
        state_[0] ^= state_[3];
        state_[2] ^= t;
        state_[3] = rotl(state_[3], 45);
        return result;
    }

    // Uniform in [0, n), n below 2^32.
    uint32_t below(uint32_t n) { return static_cast<uint32_t>(((next() >> 32) * n) >> 32); }

    bool permille(uint32_t p) { return p != 0 && below(1000) < p; }

    // A latency with a tail, of mean `mean` and at most 57 times that: exponential-like (each octave uniform), and one
    // in 32 is eight times as long. Integers only, so that no math library has a say.
    uint32_t tail(uint32_t mean) {
        if (mean == 0) return 0;
        const uint64_t bits = next();
        uint64_t octave = 0;
        while (octave < 12 && ((bits >> octave) & 1) != 0) ++octave;
        const uint64_t scaled = (octave << 16) | ((bits >> 16) & 0xFFFF);  // mean 1.5 * 2^16
        const uint64_t factor = (bits >> 59) == 0 ? 8 : 1;                 // mean 39 / 32
        return static_cast<uint32_t>((mean * scaled * factor * 64) / (117ULL << 16));
    }

  private:
    static uint64_t rotl(uint64_t x, int k) { return (x << k) | (x >> (64 - k)); }
    uint64_t state_[4];
};

}  // namespace myr

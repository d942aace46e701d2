// The root complex as completer of the NIC's reads.
#pragma once
#include <bitset>
#include <cstdint>
#include <deque>
#include <string>
#include <unordered_map>

#include "config.h"
#include "memory.h"
#include "rng.h"
#include "tlp.h"

namespace myr {

enum class ReadError : uint32_t { kNone = 0, kUr = 1, kCa = 2, kPoisoned = 3, kDropped = 4 };

class Completer {
  public:
    Completer(const HostConfig& config, const Memory& memory);

    // Reads that start in this machine page end like this from now on.
    void inject(uint64_t address, ReadError error);

    // A read has arrived; it must see the first `posted_before` writes of the NIC. False: its tag is still in use.
    bool accept(const MemRequest& request, uint64_t cycle, uint64_t posted_before);

    // The next completion whose first beat may be on the bus in `cycle`. `landed`: writes of the NIC in memory;
    // `sent` and `queued`: posted writes to the NIC; a completion never passes one queued before its data was sampled.
    bool next(uint64_t cycle, uint64_t landed, uint64_t sent, uint64_t queued, Tlp& out);

    // For a person: the reads that are not answered completely, a line each.
    std::string state() const;
    bool idle() const { return reads_.empty(); }

  private:
    struct Read {
        MemRequest request;
        uint64_t due;
        uint64_t posted_before;
        uint64_t stamp;    // posted writes queued when the data was sampled
        bool sampled;
        ReadError error;
        uint32_t offset;   // bytes of `data` already returned
        uint32_t left;     // byte count of the next completion
        std::vector<uint8_t> data;  // whole DWs
    };

    void sample(Read& read, uint64_t queued);
    uint32_t chunk(const Read& read);  // payload bytes (whole DWs) of the next completion
    bool build(Read& read, Tlp& out);  // true: that was the last one

    const HostConfig& config_;
    const Memory& memory_;
    Rng latency_;
    Rng order_;
    Rng split_;
    std::deque<Read> reads_;  // in order of arrival
    std::bitset<256> tags_;
    std::unordered_map<uint64_t, ReadError> errors_;  // by page
    std::vector<size_t> ready_;
};

}  // namespace myr

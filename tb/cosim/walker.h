// Memory port of the IOMMU's table walker.
#pragma once
#include <cstdint>
#include <vector>

#include "config.h"
#include "memory.h"
#include "rng.h"

namespace myr {

struct WalkAnswer {
    uint8_t id;
    bool error;  // outside RAM
    uint64_t low;
    uint64_t high;
};

class Walker {
  public:
    Walker(const HostConfig& config, const Memory& memory)
        : config_(config), memory_(memory), rng_(config.seed, 5) {}

    // A 16-byte read taken in `cycle`; its answer is on the port in cycle + walk_latency (later with jitter).
    void read(uint64_t cycle, uint8_t id, uint64_t address);
    // The answer to be on the port in `cycle`, if any; memory is sampled now.
    bool next(uint64_t cycle, WalkAnswer& answer);
    // Reads that are not answered.
    uint64_t waiting() const { return pending_.size(); }

  private:
    struct Pending {
        uint64_t due;
        uint64_t address;
        uint8_t id;
    };
    const HostConfig& config_;
    const Memory& memory_;
    Rng rng_;
    std::vector<Pending> pending_;  // in order of arrival
};

}  // namespace myr

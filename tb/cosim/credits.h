// Flow-control credits, both ways (fc_t of myr_pkg.sv: cumulative limits, headers modulo 2^8, data modulo 2^12).
#pragma once
#include <cstdint>
#include <deque>
#include <string>

#include "config.h"
#include "rng.h"

namespace myr {

// Header and data credits of one class.
struct CreditPair {
    uint32_t headers = 0;
    uint32_t data = 0;
};

struct Fc {
    CreditPair posted;
    CreditPair nonposted;

    static Fc unpack(uint64_t word) {
        return {{static_cast<uint32_t>(word >> 32) & 0xFF, static_cast<uint32_t>(word >> 20) & 0xFFF},
                {static_cast<uint32_t>(word >> 12) & 0xFF, static_cast<uint32_t>(word) & 0xFFF}};
    }
    uint64_t pack() const {
        return static_cast<uint64_t>(posted.headers & 0xFF) << 32 | static_cast<uint64_t>(posted.data & 0xFFF) << 20 |
               static_cast<uint64_t>(nonposted.headers & 0xFF) << 12 | (nonposted.data & 0xFFF);
    }
};

// May a TLP of one header and `data` units start, with `consumed` so far and `limit` granted?
inline bool fits(const CreditPair& limit, const CreditPair& consumed, uint32_t data) {
    return ((limit.headers - consumed.headers - 1) & 0xFF) <= 0x7F &&
           (data == 0 || ((limit.data - consumed.data - data) & 0xFFF) <= 0x7FF);
}

// 16-byte units of a payload of `dws`.
inline uint32_t data_credits(uint32_t dws) { return (dws + 3) / 4; }

// Headers and data units left of what was granted, for a person.
std::string left(const Fc& limit, const Fc& consumed);

// Limits granted to the NIC: returned `credit_latency` cycles after a TLP has left its transmitter, standing still
// in random periods of starvation.
class CreditGrant {
  public:
    explicit CreditGrant(const HostConfig& config);
    // A TLP of the NIC starts. False: the NIC had no credit for it.
    bool consume(uint8_t type, uint32_t dws);
    // The same TLP has left.
    void release(uint64_t cycle);
    uint64_t limits(uint64_t cycle);
    // All that was used is given back and told.
    bool idle() const { return returns_.empty() && advertised_.pack() == granted_.pack(); }
    // For a person: what the NIC may still send, a line.
    std::string state() const;

  private:
    const HostConfig& config_;
    Rng rng_;
    Fc granted_;
    Fc advertised_;
    Fc consumed_;
    bool open_posted_ = false;
    bool open_counted_ = false;
    uint32_t open_data_ = 0;
    struct Return {
        uint64_t due;
        bool posted;
        uint32_t data;
    };
    std::deque<Return> returns_;
    bool starving_ = false;
    uint64_t period_end_ = 0;
};

}  // namespace myr

#include "host.h"

#include <algorithm>

namespace myr {

Host::Host(const HostConfig& config)
    : config_(config),
      memory_(config.ram_bytes),
      waits_(memory_),
      completer_(config_, memory_),
      downstream_(completer_),
      cpu_(config_, downstream_, waits_),
      upstream_(config_, memory_, completer_, waits_, trace_),
      walker_(config_, memory_),
      credits_(config_),
      link_rng_(config.seed, 6),
      rc_rng_(config.seed, 7) {}

const HostOut& Host::cycle(const HostIn& in) {
    now_ = in.cycle;
    nic_limits_ = in.rx_fc;
    const uint32_t before = out_.flags;
    uint32_t flags = kWalkReady;

    if (in.tx_watch != 0) {
        if ((in.tx_watch & kWatchFirst) != 0 &&
            !credits_.consume(static_cast<uint8_t>(in.tx_watch >> 24), tlp_length(in.tx_watch))) {
            fail("the NIC started a TLP without credit");
        }
        if ((in.tx_watch & kWatchLast) != 0) credits_.release(now_);
    }
    if ((in.flags & kUpValid) != 0 && (before & kUpReady) != 0) {
        fail(upstream_.beat(now_, in.up_data, (in.flags & kUpLast) != 0, (in.flags & kUpHalf) != 0));
    }
    if ((in.flags & kWalkValid) != 0 && (before & kWalkReady) != 0) {
        if ((in.flags & kWalkWrite) != 0) {
            upstream_.status_write(now_, in.walk_address, in.walk_data);
        } else {
            walker_.read(now_, static_cast<uint8_t>(in.flags >> kWalkIdShift & 0x1F), in.walk_address);
        }
    }
    fail(upstream_.land(now_, cpu_));
    cpu_.step((before & kRegValid) != 0 && (in.flags & kRegReady) != 0, (in.flags & kRegRvalid) != 0, in.reg_data);
    if (downstream_.step(now_, (in.flags & kDnReady) != 0, Fc::unpack(in.rx_fc), upstream_.landed())) {
        const Beat beat = downstream_.beat();
        out_.dn_data = beat.data;
        flags |= kDnValid | (beat.last ? kDnLast : 0U) | (beat.half ? kDnHalf : 0U);
    }
    WalkAnswer answer{};
    if (walker_.next(now_ + 1, answer)) {
        out_.walk_low = answer.low;
        out_.walk_high = answer.high;
        flags |= kWalkRspValid | (answer.error ? kWalkRspError : 0U) |
                 static_cast<uint32_t>(answer.id) << kWalkRspIdShift;
    }
    const RegPort& port = cpu_.port();
    if (port.valid) {
        flags |= kRegValid | (port.write ? kRegWrite : 0U);
        out_.reg_address = port.address;
        out_.reg_data = port.data;
    }
    LineBeat beat;
    if (wire_in_.step(now_ + 1, beat)) {
        out_.wire_data = beat.data;
        flags |= kWireValid | (beat.first ? kWireFirst : 0U) | (beat.last ? kWireLast : 0U) |
                 (beat.error ? kWireError : 0U) | beat.bytes << kWireBytesShift;
    }
    out_.posted_landed = static_cast<uint32_t>(upstream_.landed());
    const bool moves = (in.flags & (kUpValid | kWalkValid | kRegRvalid | kTimed)) != 0 || in.tx_watch != 0;
    quiet_ = moves || !idle() ? 0 : quiet_ + 1;
    uint32_t disturbed = disturbances(now_);
    skipped_ = skip_;
    skipped_so_far_ += skip_;
    for (; skip_ != 0; --skip_) disturbed = disturbances(++now_);
    flags |= disturbed;

    waits_.tick(now_);
    wake();
    out_.flags = flags | (wake_ ? kWake : 0U);
    return out_;
}

uint32_t Host::disturbances(uint64_t cycle) {
    uint32_t flags = 0;
    if (link_rng_.permille(config_.link_stall_permille)) flags |= kStallUp;
    if (link_rng_.permille(config_.link_stall_permille)) flags |= kStallDn;
    if (!rc_rng_.permille(config_.rc_stall_permille)) flags |= kUpReady;
    out_.tx_fc = credits_.limits(cycle);
    return flags;
}

uint32_t Host::checks() const {
    constexpr uint32_t kPrompt = 512;
    const bool prompt = config_.starvation_permille == 0 && config_.credit_latency <= kPrompt;
    return (config_.checkers != 0 ? 1U : 0U) | (prompt ? 2U : 0U);
}

void Host::wire_beat(uint64_t cycle, uint64_t data, uint32_t count, bool first, bool last) {
    quiet_ = 0;
    const char* wrong = wire_.beat(cycle, data, count, first, last);
    if (wrong != nullptr) fail(std::string("wire: ") + wrong);
    if (config_.peer_pause != 0 && wire_.pause() >= 0) wire_in_.pause(cycle, static_cast<uint32_t>(wire_.pause()));
    if (last && !wire_waits_.empty()) {
        for (const uint64_t id : wire_waits_) waits_.finish(id, 0);
        wire_waits_.clear();
    }
}

bool Host::wire_wait(uint64_t id, uint64_t deadline) {
    if (!wire_.frames().empty()) return false;
    // those whose time is up
    wire_waits_.erase(std::remove_if(wire_waits_.begin(), wire_waits_.end(),
                                     [this](uint64_t old) { return !waits_.active(old); }),
                      wire_waits_.end());
    wire_waits_.push_back(id);
    waits_.begin(id, deadline);
    return true;
}

const std::string& Host::state() {
    state_ = cpu_.state() + downstream_.state(Fc::unpack(nic_limits_)) + credits_.state() + "from the NIC: " +
             std::to_string(upstream_.waiting()) + " TLPs have not landed; " + std::to_string(walker_.waiting()) +
             " reads of page tables are open\nline: " + std::to_string(wire_in_.waiting()) +
             " frames for the NIC wait, " + std::to_string(wire_.frames().size()) + " that left were not taken\n" +
             completer_.state();
    return state_;
}

void Host::fail(const std::string& message) {
    if (message.empty() || !error_.empty()) return;
    error_ = "cycle " + std::to_string(now_) + ": " + message;
    signalled_ = false;
    waits_.events().push_back({0, kDone, 0});  // wait 0: this error
}

void Host::wake() {
    if (waits_.events().empty() || signalled_) return;
    wake_ = !wake_;
    signalled_ = true;
}

}  // namespace myr

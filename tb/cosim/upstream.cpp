#include "upstream.h"

#include <cstdio>
#include <cstring>

#include "cpu.h"

namespace myr {

namespace {

// A write of one DW in this range is a message-signalled interrupt (Intel SDM volume 3, 11.11).
constexpr uint64_t kInterruptBase = 0xFEE00000;
constexpr uint64_t kInterruptBytes = 0x100000;

// What the NIC's tags say of a write, bits 7:6.
enum WriteKind : uint8_t { kPayload = 0, kSendCompletion = 1, kRecvCompletion = 2 };

std::string describe(const Tlp& t, const char* what) {
    char text[160];
    std::snprintf(text, sizeof text, "upstream TLP %08x %08x %08x: %s", t[0], t.size() > 1 ? t[1] : 0,
                  t.size() > 2 ? t[2] : 0, what);
    return text;
}

}  // namespace

std::string Upstream::beat(uint64_t cycle, uint64_t data, bool last, bool half) {
    open_.push_back(static_cast<uint32_t>(data));
    if (!half) open_.push_back(static_cast<uint32_t>(data >> 32));
    if (half && !last) return describe(open_, "a half beat before the last");
    if (!last) return {};
    std::string error = accept(cycle);
    open_.clear();
    return error;
}

std::string Upstream::accept(uint64_t cycle) {
    const uint8_t type = tlp_type(open_);
    const uint32_t payload = tlp_has_data(type) ? tlp_length(open_[0]) : 0;
    if (open_.size() != tlp_header_dws(type) + payload) return describe(open_, "size differs from its Length field");
    switch (type) {
        case kMRd32:
        case kMRd64: {
            const MemRequest r = parse_mem(open_);
            std::string error = check(r, config_.mrrs);
            if (error.empty() && !completer_.accept(r, cycle, received_)) {
                error = describe(open_, "tag is still in use");
            }
            return error;
        }
        case kMWr32:
        case kMWr64: {
            std::string error = check(parse_mem(open_), config_.mps);
            if (!error.empty()) return error;
            ++received_;
            break;
        }
        case kCpl:
        case kCplD:
            break;
        default:
            return describe(open_, "unknown type");
    }
    landing_.push_back({cycle + config_.write_latency, false, std::move(open_)});
    open_ = Tlp();
    return {};
}

std::string Upstream::check(const MemRequest& r, uint32_t limit) const {
    if (r.dws * 4 > limit) return describe(open_, "longer than MPS (write) or MRRS (read)");
    if ((r.address & 0xFFF) + r.dws * 4ULL > 4096) return describe(open_, "crosses a 4 KiB boundary");
    if (r.dws == 1 ? r.last_be != 0 : (r.first_be == 0 || r.last_be == 0)) {
        return describe(open_, "byte enables do not fit the length");
    }
    return {};
}

void Upstream::status_write(uint64_t cycle, uint64_t address, uint32_t value) {
    landing_.push_back({cycle + config_.write_latency, true,
                        {static_cast<uint32_t>(address >> 32), static_cast<uint32_t>(address), value}});
}

std::string Upstream::land(uint64_t cycle, Cpu& cpu) {
    std::string error;
    while (!landing_.empty() && landing_.front().due <= cycle) {
        const Tlp tlp = std::move(landing_.front().tlp);
        const bool status = landing_.front().status;
        landing_.pop_front();
        if (status) {
            const uint64_t address = static_cast<uint64_t>(tlp[0]) << 32 | tlp[1];
            if (!memory_.holds(address, 4)) return "IOMMU status write outside RAM";
            std::memcpy(memory_.data() + address, &tlp[2], 4);
            waits_.landed(address);
        } else if (tlp_type(tlp) == kCpl || tlp_type(tlp) == kCplD) {
            const char* wrong = cpu.completion(tlp);
            if (wrong != nullptr && error.empty()) error = describe(tlp, wrong);
        } else {
            land_write(cycle, tlp);
        }
    }
    return error;
}

void Upstream::land_write(uint64_t cycle, const Tlp& tlp) {
    const MemRequest r = parse_mem(tlp);
    const uint8_t requester = static_cast<uint8_t>(r.requester);
    const uint8_t kind = r.tag >> 6;
    ++landed_;
    if (r.dws == 1 && r.address - kInterruptBase < kInterruptBytes) {
        const uint32_t data = tlp[r.header_dws];
        trace_.add({cycle, kTraceIrqVisible, requester, 0, data});
        waits_.interrupt(r.address, data);
        return;
    }
    store(tlp, r);
    if (kind == kSendCompletion) trace_.add({cycle, kTraceCplVisible, requester, r.tag, byte_count(r)});
    if (kind == kRecvCompletion) trace_.add({cycle, kTraceRxCplVisible, requester, r.tag, byte_count(r)});
    waits_.landed(r.address);
}

void Upstream::store(const Tlp& tlp, const MemRequest& r) {
    // as on a real root complex, a write that nothing claims is dropped
    if (!memory_.holds(r.address, r.dws * 4ULL)) return;
    const uint8_t* from = reinterpret_cast<const uint8_t*>(&tlp[r.header_dws]);
    uint8_t* to = memory_.data() + r.address;
    const uint32_t bytes = r.dws * 4;
    for (uint32_t i = 0; i < 4; ++i) {
        if ((r.first_be >> i & 1) != 0) to[i] = from[i];
    }
    if (r.dws == 1) return;
    std::memcpy(to + 4, from + 4, bytes - 8);
    for (uint32_t i = 0; i < 4; ++i) {
        if ((r.last_be >> i & 1) != 0) to[bytes - 4 + i] = from[bytes - 4 + i];
    }
}

}  // namespace myr

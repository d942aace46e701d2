#include "tlp.h"

#include <cstring>

namespace myr {

MemRequest parse_mem(const Tlp& t) {
    MemRequest r{};
    r.header_dws = tlp_header_dws(tlp_type(t));
    r.dws = tlp_length(t[0]);
    r.requester = static_cast<uint16_t>(t[1] >> 16);
    r.tag = static_cast<uint8_t>(t[1] >> 8);
    r.last_be = (t[1] >> 4) & 0xF;
    r.first_be = t[1] & 0xF;
    r.address = r.header_dws == 4 ? (static_cast<uint64_t>(t[2]) << 32) | (t[3] & ~3U) : t[2] & ~3U;
    return r;
}

uint32_t first_byte(const MemRequest& r) {
    return r.first_be == 0 ? 0 : static_cast<uint32_t>(__builtin_ctz(r.first_be));
}

uint32_t byte_count(const MemRequest& r) {
    if (r.dws == 1 && r.first_be == 0) return 1;  // zero-length read
    const uint32_t last = r.dws == 1 ? r.first_be : r.last_be;
    const uint32_t end = (r.dws - 1) * 4 + (32 - static_cast<uint32_t>(__builtin_clz(last | 1)));
    return end - first_byte(r);
}

namespace {

Tlp mem_header(bool write, uint64_t address, uint32_t dws, uint8_t tag, uint8_t first_be, uint8_t last_be) {
    const bool wide = (address >> 32) != 0;
    const uint32_t type = (write ? 0x40U : 0U) | (wide ? 0x20U : 0U);
    Tlp t;
    t.reserve(4 + dws);
    t.push_back(type << 24 | (dws & 0x3FF));
    // requester 00:00.0, the root complex
    t.push_back(static_cast<uint32_t>(tag) << 8 | static_cast<uint32_t>(last_be) << 4 | first_be);
    if (wide) t.push_back(static_cast<uint32_t>(address >> 32));
    t.push_back(static_cast<uint32_t>(address) & ~3U);
    return t;
}

Tlp cfg_header(TlpType type, uint16_t id, uint32_t offset, uint8_t tag, uint8_t be) {
    return {static_cast<uint32_t>(type) << 24 | 1, static_cast<uint32_t>(tag) << 8 | be,
            static_cast<uint32_t>(id) << 16 | (offset & 0xFFC)};
}

}  // namespace

Tlp make_write(uint64_t address, const uint8_t* data, uint32_t size) {
    const uint32_t lead = address & 3;
    const uint32_t dws = (lead + size + 3) / 4;
    const uint32_t tail = (lead + size) & 3;
    uint8_t first = static_cast<uint8_t>(0xF << lead) & 0xF;
    uint8_t last = tail == 0 ? 0xF : static_cast<uint8_t>((1U << tail) - 1);
    if (dws == 1) {
        first &= last;
        last = 0;
    }
    Tlp t = mem_header(true, address, dws, 0, first, last);
    const size_t header = t.size();
    t.resize(header + dws, 0);
    std::memcpy(reinterpret_cast<uint8_t*>(&t[header]) + lead, data, size);
    return t;
}

Tlp make_read(uint64_t address, uint8_t tag) { return mem_header(false, address, 1, tag, 0xF, 0); }

Tlp make_cfg_read(uint16_t id, uint32_t offset, uint8_t tag) { return cfg_header(kCfgRd0, id, offset, tag, 0xF); }

Tlp make_cfg_write(uint16_t id, uint32_t offset, uint8_t tag, const uint8_t* data, uint32_t size) {
    const uint32_t lead = offset & 3;
    const uint8_t be = static_cast<uint8_t>(((1U << size) - 1) << lead) & 0xF;
    Tlp t = cfg_header(kCfgWr0, id, offset, tag, be);
    uint32_t word = 0;
    std::memcpy(reinterpret_cast<uint8_t*>(&word) + lead, data, size);
    t.push_back(word);
    return t;
}

Tlp make_completion(const MemRequest& r, CplStatus status, uint32_t bytes_left, uint32_t lower_address, uint32_t dws) {
    Tlp t;
    t.reserve(3 + dws);
    t.push_back(static_cast<uint32_t>(dws == 0 ? kCpl : kCplD) << 24 | (dws & 0x3FF));
    t.push_back(static_cast<uint32_t>(status) << 13 | (bytes_left & 0xFFF));  // completer 00:00.0
    t.push_back(static_cast<uint32_t>(r.requester) << 16 | static_cast<uint32_t>(r.tag) << 8 | (lower_address & 0x7F));
    return t;
}

}  // namespace myr

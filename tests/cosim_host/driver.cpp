// The host of the co-simulation without a simulator: a made-up device on its ports.
// usage: driver CHECK SEED; prints what is wrong and exits 1.
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <map>
#include <set>
#include <string>

#include "host.h"

namespace {

using myr::HostIn;
using myr::HostOut;
using myr::Tlp;

[[noreturn]] void fail(int line, const std::string& what) {
    std::fprintf(stderr, "driver.cpp:%d: %s\n", line, what.c_str());
    std::exit(1);
}
#define CHECK(condition) \
    do { \
        if (!(condition)) fail(__LINE__, #condition); \
    } while (false)

myr::HostConfig base_config(uint64_t seed) {
    myr::HostConfig c{};
    c.ram_bytes = 1 << 20;
    c.seed = seed;
    c.pci_window = 0xC0000000;
    c.pci_window_bytes = 0x20000000;
    c.ecam = 0xE0000000;
    c.ecam_bytes = 0x10000000;
    c.iommu = 0xFED90000;
    c.nic_bus = 1;
    c.read_latency = 20;
    c.write_latency = 7;
    c.walk_latency = 22;
    c.credit_latency = 5;
    c.mps = 128;
    c.mrrs = 4096;
    c.credit_ph = 32;
    c.credit_pd = 256;
    c.credit_nph = 32;
    c.credit_npd = 32;
    return c;
}

// A TLP that has left the host, with the cycles in which its first and last beat moved.
struct Seen {
    Tlp dw;
    uint64_t first;
    uint64_t last;
};

class Bench {
  public:
    explicit Bench(const myr::HostConfig& config) : host(config), random(config.seed, 99) {
        for (uint64_t i = 0; i < config.ram_bytes; i += 8) {
            const uint64_t word = random.next();
            std::memcpy(host.memory().data() + i, &word, 8);
        }
        in.rx_fc = (127ULL << 32) | (2047ULL << 20) | (127ULL << 12) | 2047ULL;
        step();
    }

    // The cycle in which the last beat moves.
    uint64_t send(const Tlp& tlp) {
        uint64_t moved = 0;
        for (size_t i = 0; i < tlp.size(); i += 2) {
            const bool half = i + 1 == tlp.size();
            in.up_data = tlp[i] | (half ? 0 : static_cast<uint64_t>(tlp[i + 1]) << 32);
            const bool last = i + 2 >= tlp.size();
            in.tx_watch = tlp[i] >> 24 << 24 | (tlp[i] & 0x3FF) | (i == 0 ? myr::kWatchFirst : 0U) |
                          (last ? myr::kWatchLast : 0U);
            in.flags |= myr::kUpValid | (last ? myr::kUpLast : 0U) | (half ? myr::kUpHalf : 0U);
            while ((out.flags & myr::kUpReady) == 0) {
                const uint32_t watch = in.tx_watch;
                in.tx_watch = 0;
                step();
                in.tx_watch = watch;
            }
            moved = in.cycle;
            step();
            in.tx_watch = 0;
            in.flags &= ~(myr::kUpValid | myr::kUpLast | myr::kUpHalf);
        }
        return moved;
    }

    void step() {
        const bool ready = stall_permille == 0 || !random.permille(stall_permille);
        in.flags = ready ? in.flags | myr::kDnReady : in.flags & ~static_cast<uint32_t>(myr::kDnReady);
        if ((out.flags & myr::kDnValid) != 0 && ready) {
            if (open.dw.empty()) open.first = in.cycle;
            open.dw.push_back(static_cast<uint32_t>(out.dn_data));
            if ((out.flags & myr::kDnHalf) == 0) open.dw.push_back(static_cast<uint32_t>(out.dn_data >> 32));
            if ((out.flags & myr::kDnLast) != 0) {
                open.last = in.cycle;
                seen.push_back(open);
                open = Seen();
                if (on_tlp) on_tlp(seen.back());
            }
        }
        out = host.cycle(in);
        ++in.cycle;
    }

    void steps(int n) {
        for (int i = 0; i < n; ++i) step();
    }

    // Steps until `count` TLPs have come.
    void until(size_t count, int bound = 20000) {
        while (seen.size() < count && bound-- > 0) step();
        if (seen.size() < count) fail(__LINE__, "waited in vain for TLP " + std::to_string(count) + host.error());
    }

    void clean() const {
        if (!host.error().empty()) fail(__LINE__, "host says: " + host.error());
    }

    myr::Host host;
    myr::Rng random;
    HostIn in{};
    HostOut out{};
    uint32_t stall_permille = 0;
    std::vector<Seen> seen;
    Seen open{};
    std::function<void(const Seen&)> on_tlp;
};

// Written out from the specification, not with the host's own builders.
Tlp read_tlp(uint64_t address, uint32_t dws, uint8_t tag, uint8_t first, uint8_t last, bool wide = false) {
    Tlp t{(wide ? 0x20U : 0U) << 24 | (dws & 0x3FF), 0x01030000U | static_cast<uint32_t>(tag) << 8 | last << 4U | first};
    if (wide) t.push_back(static_cast<uint32_t>(address >> 32));
    t.push_back(static_cast<uint32_t>(address) & ~3U);
    return t;
}

Tlp write_tlp(uint64_t address, const std::vector<uint32_t>& payload, uint8_t first, uint8_t last, uint8_t tag = 0x40) {
    Tlp t{0x40000000U | static_cast<uint32_t>(payload.size() & 0x3FF),
          0x01050000U | static_cast<uint32_t>(tag) << 8 | last << 4U | first,
          static_cast<uint32_t>(address)};
    t.insert(t.end(), payload.begin(), payload.end());
    return t;
}

uint32_t cpl_tag(const Seen& s) { return s.dw[2] >> 8 & 0xFF; }
bool is_completion(const Seen& s) { return (s.dw[0] >> 24 & 0x1F) == 0x0A; }

// What a read asks for: its enabled byte addresses, listed one by one.
struct Wanted {
    uint64_t address;
    uint32_t dws;
    std::vector<uint64_t> bytes;
    uint64_t position = 0;  // DW-aligned address of the next completion
    bool begun = false;

    Wanted(uint64_t a, uint32_t n, uint8_t first, uint8_t last) : address(a), dws(n), position(a) {
        for (uint32_t d = 0; d < n; ++d) {
            const uint8_t be = d == 0 ? first : d == n - 1 ? last : 0xF;
            for (uint32_t b = 0; b < 4; ++b) {
                if ((be >> b & 1) != 0) bytes.push_back(a + d * 4 + b);
            }
        }
    }

    // Checks one completion; true when it was the last.
    bool take(const Seen& s, const uint8_t* ram, uint32_t mps) {
        const uint32_t length = (s.dw[0] & 0x3FF) == 0 ? 1024 : s.dw[0] & 0x3FF;
        const uint64_t end = position + length * 4;
        CHECK(s.dw[0] >> 24 == 0x4A && (s.dw[0] & 0x4000) == 0);
        CHECK(s.dw.size() == 3 + length && length * 4 <= mps);
        CHECK((s.dw[1] >> 13 & 7) == 0);
        CHECK(s.dw[2] >> 16 == 0x0103);
        CHECK(end == address + dws * 4 || end % 64 == 0);
        CHECK(end <= address + dws * 4);
        uint64_t from = position;
        uint64_t left = 1;
        if (!bytes.empty()) {
            if (!begun) from = bytes.front();
            left = bytes.back() + 1 - from;
        }
        CHECK((s.dw[1] & 0xFFF) == (left & 0xFFF));
        CHECK((s.dw[2] & 0x7F) == (from & 0x7F));
        CHECK(std::memcmp(&s.dw[3], ram + position, length * 4) == 0);
        begun = true;
        position = end;
        return end == address + dws * 4;
    }
};

void completions(uint64_t seed) {
    for (uint32_t variant = 0; variant < 8; ++variant) {
        myr::HostConfig c = base_config(seed + variant);
        c.mps = (variant & 1) != 0 ? 256 : 128;
        c.random_split = variant >> 1 & 1;
        c.reorder = variant >> 2 & 1;
        Bench b(c);
        const auto one = [&](uint64_t byte, uint32_t size) {
            if ((byte & 0xFFF) + size > 4096) return;
            const uint64_t address = byte & ~3ULL;
            const uint32_t dws = static_cast<uint32_t>((byte + size + 3) / 4 - address / 4);
            uint8_t first = static_cast<uint8_t>(0xF << (byte & 3)) & 0xF;
            uint8_t last = static_cast<uint8_t>(0xF >> ((4 - ((byte + size) & 3)) & 3));
            if (dws == 1) {
                first &= last;
                last = 0;
            }
            Wanted w(address, dws, first, last);
            b.seen.clear();
            const uint64_t sent = b.send(read_tlp(address, dws, 7, first, last));
            size_t done = 0;
            bool end = false;
            while (!end) {
                b.until(done + 1);
                // exact latency, then back to back
                CHECK(b.seen[done].first == (done == 0 ? sent + c.read_latency : b.seen[done - 1].last + 1));
                end = w.take(b.seen[done], b.host.memory().data(), c.mps);
                ++done;
            }
            if (c.random_split == 0) {
                const uint32_t start = address % 64;
                CHECK(done == (start + dws * 4 + 63) / 64 / (c.mps / 64) +
                                  (((start + dws * 4 + 63) / 64 % (c.mps / 64)) != 0 ? 1 : 0));
            }
        };
        for (uint32_t offset = 0; offset < 64; ++offset) {
            for (const uint32_t size : {1U, 2U, 3U, 4U, 5U, 60U, 61U, 64U, 127U, 128U, 129U, 256U, 1514U}) {
                one(0x3000 + offset, size);
            }
        }
        one(0x5000, 4096);
        for (int i = 0; i < 150; ++i) one(b.random.below(200) * 4096 + b.random.below(4096), 1 + b.random.below(4096));
        // single DW with every pattern of byte enables, none included
        for (uint8_t be = 0; be < 16; ++be) {
            Wanted w(0x2340, 1, be, 0);
            b.seen.clear();
            b.send(read_tlp(0x2340, 1, 9, be, 0));
            b.until(1);
            CHECK(w.take(b.seen[0], b.host.memory().data(), c.mps));
        }
        b.clean();
    }
}

// Fifteen reads at once, with jitter and a stalling receiver: each complete and in order by itself.
void many_reads(uint64_t seed) {
    myr::HostConfig c = base_config(seed);
    c.reorder = 1;
    c.random_split = 1;
    c.read_jitter = 40;
    c.rc_stall_permille = 100;
    Bench b(c);
    b.stall_permille = 200;
    std::map<uint32_t, Wanted> open;
    size_t finished = 0;
    bool mixed = false;
    uint32_t before = 256;
    b.on_tlp = [&](const Seen& s) {
        const uint32_t tag = cpl_tag(s);
        const auto it = open.find(tag);
        CHECK(it != open.end());
        if (before != tag && open.count(before) != 0) mixed = true;  // another read was not complete yet
        before = tag;
        if (it->second.take(s, b.host.memory().data(), c.mps)) {
            open.erase(it);
            ++finished;
        }
    };
    size_t started = 0;
    for (int bound = 400000; finished < 1000 && bound > 0; --bound) {
        const uint8_t tag = static_cast<uint8_t>(b.random.below(15));
        if (started < 1000 && open.count(tag) == 0) {
            const uint32_t dws = 1 + b.random.below(1024);
            const uint64_t address = b.random.below(255) * 4096 + b.random.below(1025 - dws) * 4;
            open.emplace(tag, Wanted(address, dws, 0xF, dws == 1 ? 0 : 0xF));
            b.send(read_tlp(address, dws, tag, 0xF, dws == 1 ? 0 : 0xF));
            ++started;
        } else {
            b.step();
        }
    }
    b.clean();
    CHECK(finished == 1000);
    CHECK(mixed);
}

// A flag in memory, written by a processor after an MMIO write, is never seen by the device before that write;
// a device's read sees the device's earlier writes.
void ordering_of(uint64_t seed, uint32_t reorder) {
    myr::HostConfig c = base_config(seed);
    c.reorder = reorder;
    c.read_latency = 3;
    c.read_jitter = 4;
    c.write_latency = 60;
    Bench b(c);
    b.stall_permille = 300;
    uint32_t mmio_seen = 0;
    uint32_t flag_seen = 0;
    bool reading = false;
    bool checking = false;
    uint32_t own = 0;
    b.on_tlp = [&](const Seen& s) {
        if (!is_completion(s)) {
            CHECK(s.dw[3] == mmio_seen + 1);
            ++mmio_seen;
        } else if (cpl_tag(s) == 1) {
            CHECK(s.dw[3] <= mmio_seen);
            CHECK(s.dw[3] >= flag_seen);
            flag_seen = s.dw[3];
            reading = false;
        } else {
            CHECK(s.dw[3] == own);
            checking = false;
        }
    };
    uint32_t flag = 0;
    std::memcpy(b.host.memory().data() + 0x100, &flag, 4);
    for (int i = 0; i < 20000; ++i) {
        if (b.random.permille(50)) {
            ++flag;
            b.host.cpu().write(0xC0000000, reinterpret_cast<uint8_t*>(&flag), 4);
            std::memcpy(b.host.memory().data() + 0x100, &flag, 4);
            // one header of 1 DW each
            b.in.rx_fc = (static_cast<uint64_t>(flag + 100) & 0xFF) << 32 |
                         (static_cast<uint64_t>(flag + 1000) & 0xFFF) << 20 | 127ULL << 12 | 2047ULL;
        }
        if (!reading) {
            reading = true;
            b.send(read_tlp(0x100, 1, 1, 0xF, 0));
        } else if (!checking && b.random.permille(100)) {
            checking = true;
            own = static_cast<uint32_t>(b.random.next());
            b.send(write_tlp(0x200, {own}, 0xF, 0));
            b.send(read_tlp(0x200, 1, 2, 0xF, 0));
        } else {
            b.step();
        }
    }
    b.clean();
    CHECK(flag_seen > 500 && mmio_seen > 500);
}

void ordering(uint64_t seed) {
    ordering_of(seed, 0);
    ordering_of(seed, 1);
    // posted writes have no credit: neither a read nor a register access passes them
    const myr::HostConfig c = base_config(seed);
    for (int reg = 0; reg < 2; ++reg) {
        Bench b(c);
        b.in.rx_fc = 127ULL << 12 | 2047ULL;
        const uint8_t word[4] = {1, 2, 3, 4};
        b.host.cpu().write(0xC0000000, word, 4);
        b.host.waits().begin(1, ~0ULL);
        if (reg != 0) {
            b.host.cpu().write(c.iommu + 0x18, word, 4);
        } else {
            b.host.cpu().read(0xC0000000, 1);
        }
        b.steps(100);
        CHECK(b.seen.empty() && (b.out.flags & myr::kRegValid) == 0);
        b.in.rx_fc |= 127ULL << 32 | 2047ULL << 20;
        b.steps(100);
        CHECK(b.seen.size() == (reg != 0 ? 1U : 2U) && b.seen[0].dw[0] >> 24 == 0x40);
        CHECK(((b.out.flags & myr::kRegValid) != 0) == (reg != 0));
        b.clean();
    }
    // a long write lands whole
    Bench b(c);
    std::vector<uint32_t> payload;
    for (uint32_t i = 0; i < 32; ++i) payload.push_back(static_cast<uint32_t>(b.random.next()));
    b.send(write_tlp(0x2000, payload, 0xF, 0xF));
    b.steps(50);
    CHECK(std::memcmp(b.host.memory().data() + 0x2000, payload.data(), 128) == 0);
}

// The host keeps to the device's credits, counted without wrapping, and stalled reads hold up nothing else.
void credits(uint64_t seed) {
    Bench b(base_config(seed));
    uint64_t ph = 3, pd = 20, nph = 0, npd = 0;           // granted in all
    uint64_t used_ph = 0, used_pd = 0, used_nph = 0, used_npd = 0;
    std::vector<uint32_t> tags;
    const auto grant = [&] { b.in.rx_fc = (ph & 0xFF) << 32 | (pd & 0xFFF) << 20 | (nph & 0xFF) << 12 | (npd & 0xFFF); };
    b.on_tlp = [&](const Seen& s) {
        const uint32_t type = s.dw[0] >> 24;
        const uint64_t units = (type & 0x40) != 0 ? ((s.dw[0] & 0x3FF) + 3) / 4 : 0;
        if (type == 0x40) {
            used_ph += 1;
            used_pd += units;
        } else if (!is_completion(s)) {
            used_nph += 1;
            used_npd += units;
            tags.push_back(s.dw[1] >> 8 & 0xFF);
        }
        CHECK(used_ph <= ph && used_pd <= pd && used_nph <= nph && used_npd <= npd);
    };
    grant();
    uint64_t writes = 0, reads = 0;
    uint8_t data[64] = {};
    for (int i = 0; i < 60000; ++i) {
        if (writes < 1500 && b.random.permille(100)) {
            const uint32_t size = 1 + b.random.below(64);
            b.host.cpu().write(0xC0000000 + b.random.below(256), data, size);
            ++writes;
        }
        if (reads < 400 && b.random.permille(20)) {
            b.host.waits().begin(++reads, ~0ULL);
            b.host.cpu().read(0xC0000100, reads);
        }
        // the receiver frees what it has taken, sometimes late; nothing non-posted at first
        if (b.random.permille(100)) {
            ph = used_ph + 1 + b.random.below(3) > ph ? used_ph + 1 + b.random.below(3) : ph;
            pd = used_pd + 5 > pd ? used_pd + 5 : pd;
            if (i > 5000) {
                nph = used_nph + 1;
                npd = used_npd + 1;
            }
            grant();
        }
        if (i == 5000) CHECK(used_nph == 0 && used_ph > 100);
        if (!tags.empty() && b.random.permille(300)) {
            const uint32_t tag = tags.back();
            tags.pop_back();
            b.send({0x4A000001, 0x01000004, tag << 8, 0x1234});
        } else {
            b.step();
        }
    }
    b.clean();
    CHECK(used_ph == writes && used_nph == reads && writes == 1500 && reads == 400);
    CHECK(b.host.waits().events().size() == 400);
    for (const myr::Event& e : b.host.waits().events()) CHECK(e.status == myr::kDone && e.data == 0x1234);
}

// Credits granted to the device come back exactly, stand still in starvation, and their overrun is noticed.
void grants(uint64_t seed) {
    myr::HostConfig c = base_config(seed);
    c.credit_ph = 2;
    c.credit_pd = 16;
    c.starvation_permille = 500;
    Bench b(c);
    uint64_t used_h = 0, used_d = 0;
    uint64_t stood = 0, longest = 0;
    for (int i = 0; i < 20000; ++i) {
        const uint64_t limit_h = b.out.tx_fc >> 32 & 0xFF;
        const uint64_t limit_d = b.out.tx_fc >> 20 & 0xFFF;
        const uint64_t free_h = (limit_h - used_h) & 0xFF;
        const uint64_t free_d = (limit_d - used_d) & 0xFFF;
        CHECK(free_h <= 2 && free_d <= 16);
        const uint32_t dws = 1 + b.random.below(32);
        if (free_h >= 1 && free_d >= (dws + 3) / 4) {
            b.send(write_tlp(0x1000, std::vector<uint32_t>(dws, 5), 0xF, dws == 1 ? 0 : 0xF));
            used_h += 1;
            used_d += (dws + 3) / 4;
            stood = 0;
        } else {
            b.step();
            longest = std::max(longest, ++stood);
        }
    }
    b.clean();
    CHECK(used_h > 300 && longest >= 64);
    for (int i = 0; i < 4 && b.host.error().empty(); ++i) b.send(write_tlp(0x1000, {1}, 0xF, 0));
    CHECK(b.host.error().find("credit") != std::string::npos);
}

void monitors(uint64_t seed) {
    const myr::HostConfig c = base_config(seed);
    Bench b(c);
    std::memset(b.host.memory().data() + 0x1000, 0, 64);
    const uint8_t expected[4] = {0x10, 0, 0, 0}, mask[4] = {0xF0, 0, 0, 0};
    b.host.waits().begin_monitor(1, 100000, 0x1004, expected, mask, 4);
    b.host.waits().begin_monitor(2, 100000, 0x1004, expected, mask, 4);
    b.host.waits().begin_monitor(3, 1000, 0x1010, expected, mask, 4);
    b.host.waits().begin(4, 500);
    b.send(write_tlp(0x1004, {0x20}, 0xF, 0));  // other value
    b.send(write_tlp(0x1000, {0x10}, 0xF, 0));  // other place
    b.steps(50);
    CHECK(b.host.waits().events().empty());
    const bool wake = (b.out.flags & myr::kWake) != 0;
    const uint64_t sent = b.send(write_tlp(0x1000, {1, 0xFFFFFF17}, 0xF, 0x1));  // byte enables spare the rest
    while (b.host.waits().events().empty()) b.step();
    CHECK(b.in.cycle - 1 == sent + c.write_latency);
    CHECK(b.host.waits().events().size() == 2);
    CHECK(((b.out.flags & myr::kWake) != 0) != wake);
    CHECK(b.host.memory().data()[0x1004] == 0x17 && b.host.memory().data()[0x1005] == 0);
    b.host.drained();
    while (b.host.waits().events().empty()) b.step();
    CHECK(b.in.cycle - 1 == 500 && b.host.waits().events()[0].id == 4);
    CHECK(b.host.waits().events()[0].status == myr::kTimeout);
    b.host.drained();
    while (b.host.waits().events().empty()) b.step();
    CHECK(b.in.cycle - 1 == 1000 && b.host.waits().events()[0].id == 3);
    CHECK(!b.host.waits().active(1) && !b.host.waits().active(3));
    const std::vector<myr::TraceRecord>& trace = b.host.trace().records();
    CHECK(trace.size() == 3 && trace[2].cycle == sent + c.write_latency && trace[2].kind == 10);
    CHECK(trace[2].endpoint == 5 && trace[2].info == 5);
    b.clean();
}

// A DW written to the interrupt range is an event with address and data: in order with the writes before it, none
// lost, none merged. The kind in a write's tag decides what the trace says of it.
void interrupts(uint64_t seed) {
    const myr::HostConfig c = base_config(seed);
    Bench b(c);
    const auto ram = [&](uint64_t address) {
        uint32_t word = 0;
        std::memcpy(&word, b.host.memory().data() + address, 4);
        return word;
    };
    std::vector<std::pair<uint64_t, uint32_t>> wanted, got;
    uint64_t landed = 0;
    for (uint32_t i = 0; i < 500; ++i) {
        // the entry, then the interrupt: whoever sees the second finds the first
        b.send(write_tlp(0x2000, {i, 0}, 0xF, 0xF, 0x80 | (i & 0x3F)));
        const uint64_t address = 0xFEE00000 + (b.random.below(0x40000) << 2);
        b.send(write_tlp(address, {i}, 0xF, 0, 0xC0));
        wanted.emplace_back(address, i);
        landed += 2;
        const int idle = static_cast<int>(b.random.below(6));
        for (int n = 0; n < idle; ++n) {
            b.step();
            for (const myr::Event& e : b.host.waits().events()) {
                CHECK(e.status == myr::kInterrupt && ram(0x2000) >= e.data);
                got.emplace_back(e.id, e.data);
            }
            if (!b.host.waits().events().empty()) b.host.drained();
        }
    }
    b.steps(static_cast<int>(c.write_latency) + 1);
    for (const myr::Event& e : b.host.waits().events()) got.emplace_back(e.id, e.data);
    b.host.drained();
    CHECK(got == wanted && b.out.posted_landed == landed);
    size_t seen[23] = {};
    for (const myr::TraceRecord& r : b.host.trace().records()) {
        ++seen[r.kind];
        CHECK(r.endpoint == 5);
        CHECK(r.kind == 21 ? r.info == 8 && r.index == (0x80 | (seen[21] - 1) % 64) : r.info == seen[22] - 1);
    }
    CHECK(seen[21] == 500 && seen[22] == 500 && b.host.trace().records().size() == 1000);
    // the ends of the range and its neighbours; two DWs are no interrupt; payload is not traced, but monitored
    b.host.trace().clear();
    b.send(write_tlp(0xFEE00000, {1}, 0xF, 0));
    b.send(write_tlp(0xFEEFFFFC, {2}, 0xF, 0));
    b.send(write_tlp(0xFEDFFFFC, {3}, 0xF, 0, 0));
    b.send(write_tlp(0xFEF00000, {4}, 0xF, 0, 0));
    b.send(write_tlp(0xFEE00000, {5, 6}, 0xF, 0xF, 0));
    const uint8_t expected[1] = {7}, mask[1] = {0xFF};
    b.host.waits().begin_monitor(1, ~0ULL, 0x3000, expected, mask, 1);
    b.send(write_tlp(0x3000, {7}, 0xF, 0, 0x3F));
    b.steps(static_cast<int>(c.write_latency) + 1);
    const std::vector<myr::Event>& events = b.host.waits().events();
    CHECK(events.size() == 3 && events[0].id == 0xFEE00000 && events[0].data == 1);
    CHECK(events[1].id == 0xFEEFFFFC && events[1].data == 2 && events[2].id == 1 && events[2].status == myr::kDone);
    CHECK(b.host.trace().records().size() == 2 && b.host.trace().records()[1].kind == 22);
    CHECK(b.out.posted_landed == landed + 6);
    b.clean();
}

void errors(uint64_t seed) {
    const myr::HostConfig c = base_config(seed);
    {
        Bench b(c);
        b.host.completer().inject(0x3123, myr::ReadError::kUr);
        b.host.completer().inject(0x4000, myr::ReadError::kCa);
        b.host.completer().inject(0x5FFF, myr::ReadError::kPoisoned);
        b.host.completer().inject(0x6000, myr::ReadError::kDropped);
        b.send(read_tlp(0x3FFC, 1, 1, 0xC, 0));
        b.send(read_tlp(0x4000, 1024, 2, 0xF, 0xF));
        b.send(read_tlp(0x5040, 64, 3, 0xF, 0xF));
        b.send(read_tlp(0x6000, 1, 4, 0xF, 0));
        b.send(read_tlp(0x6000, 1, 4, 0xF, 0));  // a dropped read's tag is free
        b.send(read_tlp(0x100000 - 4, 1, 5, 0xF, 0));
        b.send(read_tlp(0x100000, 1, 6, 0xF, 0));
        b.send(read_tlp(0x1200000000, 1, 7, 0xF, 0, true));
        b.until(7);
        b.steps(300);
        CHECK(b.seen.size() == 7);
        const auto plain = [&](size_t i, uint32_t tag, uint32_t status, uint32_t count) {
            const Tlp& t = b.seen[i].dw;
            CHECK(t.size() == 3 && t[0] == 0x0A000000 && cpl_tag(b.seen[i]) == tag);
            CHECK((t[1] >> 13 & 7) == status && (t[1] & 0xFFF) == (count & 0xFFF));
        };
        plain(0, 1, 1, 2);
        plain(1, 2, 4, 4096);
        CHECK((b.seen[2].dw[0] & 0x4000) != 0 && (b.seen[3].dw[0] & 0x4000) == 0);
        CHECK(cpl_tag(b.seen[4]) == 5 && b.seen[4].dw[0] >> 24 == 0x4A);
        plain(5, 6, 1, 4);
        plain(6, 7, 1, 4);
        b.clean();
    }
    const auto broken = [&](const std::vector<Tlp>& tlps, const char* what) {
        Bench b(c);
        for (const Tlp& t : tlps) b.send(t);
        b.steps(50);
        if (b.host.error().find(what) == std::string::npos) fail(__LINE__, "not noticed: " + std::string(what));
        CHECK(!b.host.waits().events().empty() && b.host.waits().events().back().id == 0);
    };
    broken({read_tlp(0x1000, 1024, 1, 0xF, 0xF), read_tlp(0x1000, 1, 1, 0xF, 0)}, "tag");
    broken({read_tlp(0x1FFC, 2, 1, 0xF, 0xF)}, "4 KiB");
    broken({read_tlp(0x1000, 1, 1, 0xF, 0xF)}, "byte enables");
    broken({read_tlp(0x1000, 2, 1, 0xF, 0)}, "byte enables");
    broken({write_tlp(0x1000, std::vector<uint32_t>(33, 0), 0xF, 0xF)}, "MPS");
    broken({{0x40000002, 0x010000FF, 0x1000, 1}}, "size");
    broken({{0x4A000001, 0x01000004, 0, 1}}, "no request");
    broken({{0x30000000, 0, 0, 0}}, "unknown type");
}

void mmio(uint64_t seed) {
    myr::HostConfig c = base_config(seed);
    c.pci_window = 0x1C0000000;  // 4-DW headers, then 3-DW ones
    for (int wide = 1; wide >= 0; --wide) {
        if (wide == 0) c.pci_window = 0xC0000000;
        Bench b(c);
        uint8_t data[64];
        for (uint32_t i = 0; i < 64; ++i) data[i] = static_cast<uint8_t>(i + 1);
        uint64_t ph = 127, pd = 2047;
        for (uint32_t offset = 0; offset < 8; ++offset) {
            for (uint32_t size = 1; size <= 64; ++size) {
                b.seen.clear();
                b.host.cpu().write(c.pci_window + 0x1000 + offset, data, size);
                b.until(1);
                const Tlp& t = b.seen[0].dw;
                const size_t header = wide != 0 ? 4 : 3;
                CHECK(t[0] >> 24 == (wide != 0 ? 0x60 : 0x40));
                const uint64_t address = wide != 0 ? static_cast<uint64_t>(t[2]) << 32 | t[3] : t[2];
                // list the enabled bytes
                std::map<uint64_t, uint8_t> bytes;
                const uint32_t dws = t[0] & 0x3FF;
                CHECK(t.size() == header + dws);
                if (dws == 1) CHECK((t[1] >> 4 & 0xF) == 0);
                for (uint32_t i = 0; i < dws * 4; ++i) {
                    const uint32_t be = i < 4 ? t[1] & 0xF : i >= dws * 4 - 4 ? t[1] >> 4 & 0xF : 0xF;
                    if ((be >> (i % 4) & 1) != 0) {
                        bytes[address + i] = static_cast<uint8_t>(t[header + i / 4] >> (8 * (i % 4)));
                    }
                }
                CHECK(bytes.size() == size);
                for (uint32_t i = 0; i < size; ++i) CHECK(bytes.at(c.pci_window + 0x1000 + offset + i) == data[i]);
                ph += 1;
                pd += (dws + 3) / 4;
                b.in.rx_fc = (ph & 0xFF) << 32 | (pd & 0xFFF) << 20 | 127ULL << 12 | 2047ULL;
            }
        }
        b.clean();
    }
    // program order over PCI, configuration space and IOMMU
    Bench b(c);
    const uint8_t word[4] = {1, 2, 3, 4};
    b.host.waits().begin(1, ~0ULL);
    b.host.waits().begin(2, ~0ULL);
    b.host.waits().begin(3, ~0ULL);
    b.host.cpu().write(0xC0000000, word, 4);
    b.host.cpu().write(c.iommu + 0x18, word, 4);
    b.host.cpu().read(c.iommu + 0x1C, 1);
    b.host.cpu().write(0xC0000004, word, 4);
    b.host.cpu().write(c.ecam + (1 << 20) + (9 << 12) + 6, word, 2);
    b.host.cpu().write(0xC0000008, word, 4);
    b.host.cpu().read(c.ecam + (2 << 20), 2);
    b.host.cpu().read(c.ecam + (1 << 20) + 0x10, 3);
    b.until(1);
    b.steps(20);
    // the register access waits for the port, all else for it
    CHECK((b.out.flags & myr::kRegValid) != 0 && (b.out.flags & myr::kRegWrite) != 0 && b.out.reg_address == 0x18);
    CHECK(b.out.reg_data == 0x04030201 && b.seen.size() == 1);
    b.in.flags |= myr::kRegReady;
    b.steps(2);
    b.in.flags &= ~static_cast<uint32_t>(myr::kRegReady);
    b.steps(20);
    CHECK((b.out.flags & myr::kRegValid) == 0 && b.seen.size() == 1);
    b.in.flags |= myr::kRegRvalid;
    b.in.reg_data = 77;
    b.step();
    b.in.flags &= ~static_cast<uint32_t>(myr::kRegRvalid);
    CHECK(b.host.waits().events().size() == 1 && b.host.waits().events()[0].data == 77);
    b.until(3);
    b.steps(20);
    CHECK(b.seen.size() == 3);
    CHECK((b.seen[2].dw == Tlp{0x44000001, b.seen[2].dw[1], 0x01090004, 0x02010000}) && (b.seen[2].dw[1] & 0xFF) == 0xC);
    b.send({0x0A000000, 0x01000004, b.seen[2].dw[1] & 0xFF00});
    b.until(5);
    CHECK(b.seen[3].dw[2] == 0xC0000008 && b.seen[4].dw[0] == 0x04000001 && b.seen[4].dw[2] == 0x01000010);
    b.send({0x0A000000, 0x01002004, b.seen[4].dw[1] & 0xFF00});
    b.steps(20);
    CHECK(b.host.waits().events().size() == 3);
    CHECK(b.host.waits().events()[1].id == 2 && b.host.waits().events()[1].data == 0xFFFFFFFF);
    CHECK(b.host.waits().events()[2].id == 3 && b.host.waits().events()[2].data == 0xFFFFFFFF);
    b.clean();
}

void walks(uint64_t seed) {
    const myr::HostConfig c = base_config(seed);
    Bench b(c);
    // one a cycle, pipelined
    uint64_t taken[32];
    for (uint32_t id = 0; id < 32 + c.walk_latency; ++id) {
        if (id < 32) {
            b.in.flags |= myr::kWalkValid;
            b.in.flags = (b.in.flags & ~(0x1FU << myr::kWalkIdShift)) | id << myr::kWalkIdShift;
            b.in.walk_address = id == 31 ? 0x100000 : 0x7000 + id * 16;
            taken[id] = b.in.cycle;
        } else {
            b.in.flags &= ~static_cast<uint32_t>(myr::kWalkValid);
        }
        if ((b.out.flags & myr::kWalkRspValid) != 0) {
            const uint32_t got = b.out.flags >> myr::kWalkRspIdShift & 0x1F;
            CHECK(b.in.cycle == taken[got] + c.walk_latency);
            CHECK(((b.out.flags & myr::kWalkRspError) != 0) == (got == 31));
            uint64_t low = 0;
            std::memcpy(&low, b.host.memory().data() + 0x7000 + got * 16, 8);
            if (got != 31) CHECK(b.out.walk_low == low);
        } else {
            CHECK(id < c.walk_latency);
        }
        b.step();
    }
    b.in.flags |= myr::kWalkValid | myr::kWalkWrite;
    b.in.walk_address = 0x9000;
    b.in.walk_data = 0xCAFE;
    b.step();
    b.in.flags &= ~static_cast<uint32_t>(myr::kWalkValid | myr::kWalkWrite);
    b.steps(static_cast<int>(c.write_latency));
    CHECK(b.host.memory().data()[0x9000] == 0xFE && b.host.memory().data()[0x9001] == 0xCA);
    CHECK(b.out.posted_landed == 0);
    b.clean();
}

void wire(uint64_t) {
    myr::Wire w;
    const uint64_t preamble = 0xD555555555555555ULL;
    CHECK(w.beat(5, 0, 8, false, false) != nullptr);
    CHECK(w.beat(5, 0x55, 8, true, false) != nullptr);
    CHECK(w.beat(10, preamble, 8, true, false) == nullptr);
    CHECK(w.beat(11, preamble, 8, true, false) != nullptr);
    CHECK(w.beat(12, 0x0807060504030201ULL, 8, false, false) == nullptr);
    CHECK(w.beat(13, 0x0A09, 2, false, true) == nullptr);
    CHECK(w.frames().size() == 1 && w.frames()[0].first_cycle == 10 && w.frames()[0].last_cycle == 13);
    CHECK(w.frames()[0].length == 10 && w.bytes()[9] == 10);
    CHECK(w.beat(20, preamble, 8, true, false) == nullptr);
    CHECK(w.beat(21, 0x11, 8, false, false) == nullptr);
    w.drain();
    CHECK(w.frames().empty());
    CHECK(w.beat(22, 0x22, 1, false, true) == nullptr);
    CHECK(w.frames().size() == 1 && w.frames()[0].offset == 0 && w.frames()[0].length == 9 && w.bytes()[8] == 0x22);
}

// The line towards the device: each beat in the cycle of its byte times, pause between frames only, waits for frames.
void wire_in(uint64_t seed) {
    constexpr uint32_t kBytesMask = 0xF;
    myr::Rng random(seed, 98);
    Bench b(base_config(seed));
    b.steps(10);
    CHECK((b.out.flags & myr::kWireValid) == 0);
    std::vector<std::vector<uint8_t>> frames;
    for (int n = 0; n < 40; ++n) {
        std::vector<uint8_t> data(1 + random.below(n % 4 == 0 ? 9000 : 100));
        for (uint8_t& byte : data) byte = static_cast<uint8_t>(random.next());
        b.host.wire_in().send(data.data(), data.size(), 0, n % 5 == 3);
        frames.push_back(data);
    }
    CHECK(b.host.wire_in().waiting() == frames.size());
    // b.out belongs to the cycle b.in.cycle
    b.step();
    const uint64_t start = b.in.cycle;
    uint64_t at = 0;  // byte times since the first preamble
    for (size_t n = 0; n < frames.size(); ++n) {
        const std::vector<uint8_t>& frame = frames[n];
        std::vector<uint8_t> got;
        uint32_t errors = 0;
        for (bool first = true, last = false; !last; first = false) {
            for (int bound = 0; (b.out.flags & myr::kWireValid) == 0; ++bound) {
                CHECK(bound < 8);
                b.step();
            }
            CHECK(b.in.cycle == start + at / 5);
            CHECK(((b.out.flags & myr::kWireFirst) != 0) == first);
            const uint32_t count = b.out.flags >> myr::kWireBytesShift & kBytesMask;
            at += count;
            last = (b.out.flags & myr::kWireLast) != 0;
            errors += (b.out.flags & myr::kWireError) != 0;
            if (first) {
                CHECK(count == 8 && b.out.wire_data == 0xD555555555555555ULL && !last);
            } else {
                CHECK(last ? count >= 1 && count <= 8 : count == 8);
                for (uint32_t i = 0; i < count; ++i) got.push_back(static_cast<uint8_t>(b.out.wire_data >> (8 * i)));
            }
            b.step();
        }
        CHECK(got == frame);
        CHECK(errors == (n % 5 == 3 ? 1U : 0U));
        at += 12;
    }
    CHECK(b.host.wire_in().waiting() == 0);
    b.clean();
}

// The device's pause frames: only with `peer_pause`, only whole ones for the group, from the end of the last beat on.
void wire_pause(uint64_t seed) {
    const uint8_t good[18] = {0x01, 0x80, 0xC2, 0, 0, 1, 2, 2, 2, 2, 2, 2, 0x88, 0x08, 0, 1, 0, 10};
    for (int wrong = -1; wrong <= 18; ++wrong) {
        myr::HostConfig config = base_config(seed);
        config.peer_pause = wrong == 18 ? 0 : 1;
        Bench b(config);
        std::vector<uint8_t> pause(64);
        std::memcpy(pause.data(), good, sizeof good);
        if (wrong >= 0 && wrong < 16) pause[static_cast<size_t>(wrong)] ^= 0x10;
        if (wrong == 16) pause.resize(56);
        if (wrong == 17) pause[17] = 0;
        const bool holds = wrong < 0 || (wrong >= 6 && wrong < 12);
        b.host.wire_beat(b.in.cycle, 0xD555555555555555ULL, 8, true, false);
        uint64_t heard = 0;
        for (size_t i = 0; i < pause.size(); i += 8) {
            b.step();
            uint64_t word = 0;
            std::memcpy(&word, pause.data() + i, 8);
            heard = b.in.cycle;
            b.host.wire_beat(heard, word, 8, false, i + 8 == pause.size());
        }
        b.host.wire_in().send(good, 1, 0, false);
        b.step();
        while ((b.out.flags & myr::kWireValid) == 0) b.step();
        // ten quanta of 64 byte times are 128 cycles
        CHECK(b.in.cycle == heard + 1 + (holds ? 128 : 0));
        b.clean();
    }
    // a wait ends with the next whole frame, or by time
    Bench b(base_config(seed));
    CHECK(b.host.wire_wait(1, b.in.cycle + 5));
    CHECK(b.host.wire_wait(2, b.in.cycle + 50));
    b.steps(10);
    CHECK(b.host.waits().events().size() == 1 && b.host.waits().events()[0].status == myr::kTimeout);
    CHECK(b.host.wire_wait(3, b.in.cycle + 50));
    b.host.wire_beat(b.in.cycle, 0xD555555555555555ULL, 8, true, false);
    CHECK(b.host.waits().events().size() == 1);
    b.host.wire_beat(b.in.cycle + 1, 0x55, 1, false, true);
    CHECK(b.host.waits().events().size() == 3);
    CHECK(b.host.waits().events()[1].id == 2 && b.host.waits().events()[2].id == 3);
    CHECK(b.host.waits().events()[2].status == myr::kDone);
    CHECK(!b.host.wire_wait(4, b.in.cycle + 50));
}

// Same seed, same behaviour; the options' streams do not disturb each other; the jitter's mean is what it says.
void randomness(uint64_t seed) {
    const auto run = [seed](uint32_t jitter, uint32_t split, uint64_t other) {
        myr::HostConfig c = base_config(seed + other);
        c.read_jitter = jitter;
        c.random_split = split;
        Bench b(c);
        std::vector<uint64_t> delays;
        for (size_t i = 0; i < 200; ++i) {
            b.seen.clear();
            const uint64_t sent = b.send(read_tlp(0x1000, 32, 1, 0xF, 0xF));
            uint32_t dws = 0;
            while (dws < 32) {
                b.until(1);
                dws += b.seen[0].dw[0] & 0x3FF;
                if (dws == (b.seen[0].dw[0] & 0x3FF)) delays.push_back(b.seen[0].first - sent);
                b.seen.erase(b.seen.begin());
            }
        }
        return delays;
    };
    CHECK(run(30, 0, 0) == run(30, 0, 0));
    CHECK(run(30, 0, 0) == run(30, 1, 0));
    CHECK(run(30, 0, 0) != run(30, 0, 1));
    const std::vector<uint64_t> constant = run(0, 1, 0);
    CHECK(std::set<uint64_t>(constant.begin(), constant.end()) == std::set<uint64_t>{base_config(seed).read_latency});
    myr::Rng rng(seed, 1);
    double sum = 0;
    for (int i = 0; i < 200000; ++i) sum += rng.tail(1000);
    CHECK(sum / 200000 > 970 && sum / 200000 < 1030);
}

}  // namespace

int main(int argc, char** argv) {
    const std::map<std::string, void (*)(uint64_t)> checks = {
        {"completions", completions}, {"many_reads", many_reads}, {"ordering", ordering}, {"credits", credits},
        {"grants", grants},           {"monitors", monitors},     {"errors", errors},     {"mmio", mmio},
        {"walks", walks},             {"wire", wire},             {"wire_in", wire_in},       {"wire_pause", wire_pause},
        {"randomness", randomness},   {"interrupts", interrupts},
    };
    if (argc == 2 && std::string(argv[1]) == "list") {
        for (const auto& check : checks) std::puts(check.first.c_str());
        return 0;
    }
    const auto check = argc == 3 ? checks.find(argv[1]) : checks.end();
    if (check == checks.end()) {
        std::fprintf(stderr, "usage: driver CHECK SEED (driver list)\n");
        return 2;
    }
    check->second(std::strtoull(argv[2], nullptr, 10));
    return 0;
}

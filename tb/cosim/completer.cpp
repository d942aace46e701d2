#include "completer.h"

#include <algorithm>
#include <cstdio>
#include <cstring>

namespace myr {

Completer::Completer(const HostConfig& config, const Memory& memory)
    : config_(config), memory_(memory), latency_(config.seed, 1), order_(config.seed, 2), split_(config.seed, 3) {}

void Completer::inject(uint64_t address, ReadError error) {
    if (error == ReadError::kNone) {
        errors_.erase(address >> 12);
    } else {
        errors_[address >> 12] = error;
    }
}

bool Completer::accept(const MemRequest& request, uint64_t cycle, uint64_t posted_before) {
    if (tags_[request.tag]) return false;
    Read read{};
    read.request = request;
    read.due = cycle + config_.read_latency + latency_.tail(config_.read_jitter);
    read.posted_before = posted_before;
    const auto injected = errors_.find(request.address >> 12);
    if (injected != errors_.end()) read.error = injected->second;
    if (!memory_.holds(request.address, request.dws * 4ULL)) read.error = ReadError::kUr;
    if (read.error == ReadError::kDropped) return true;
    tags_.set(request.tag);
    reads_.push_back(std::move(read));
    return true;
}

bool Completer::next(uint64_t cycle, uint64_t landed, uint64_t sent, uint64_t queued, Tlp& out) {
    if (reads_.empty()) return false;
    size_t pick = 0;
    if (config_.reorder == 0) {
        Read& read = reads_.front();
        if (read.due > cycle || landed < read.posted_before) return false;
        sample(read, queued);
        if (sent < read.stamp) return false;
    } else {
        ready_.clear();
        for (size_t i = 0; i < reads_.size(); ++i) {
            Read& read = reads_[i];
            if (read.due > cycle || landed < read.posted_before) continue;
            sample(read, queued);
            if (sent >= read.stamp) ready_.push_back(i);
        }
        if (ready_.empty()) return false;
        pick = ready_[ready_.size() == 1 ? 0 : order_.below(static_cast<uint32_t>(ready_.size()))];
    }
    if (build(reads_[pick], out)) {
        tags_.reset(reads_[pick].request.tag);
        reads_.erase(reads_.begin() + static_cast<std::ptrdiff_t>(pick));
    }
    return true;
}

std::string Completer::state() const {
    std::string lines;
    for (const Read& read : reads_) {
        char line[160];
        std::snprintf(line, sizeof line,
                      "read of the NIC: tag %u, requester %04x, %u bytes at %#llx, %u returned; due in cycle %llu, "
                      "behind %llu writes\n",
                      read.request.tag, read.request.requester, read.request.dws * 4,
                      static_cast<unsigned long long>(read.request.address), read.offset,
                      static_cast<unsigned long long>(read.due), static_cast<unsigned long long>(read.posted_before));
        lines += line;
    }
    return lines;
}

void Completer::sample(Read& read, uint64_t queued) {
    if (read.sampled) return;
    read.sampled = true;
    read.stamp = queued;
    read.left = byte_count(read.request);
    if (read.error == ReadError::kUr || read.error == ReadError::kCa) return;
    const uint8_t* from = memory_.data() + read.request.address;
    read.data.assign(from, from + read.request.dws * 4ULL);
}

uint32_t Completer::chunk(const Read& read) {
    const uint32_t rest = read.request.dws * 4 - read.offset;
    const uint32_t into = static_cast<uint32_t>(read.request.address + read.offset) % kRcb;
    uint32_t blocks = config_.mps / kRcb;
    if (config_.random_split != 0) blocks = 1 + split_.below(blocks);
    return std::min(rest, blocks * kRcb - into);
}

bool Completer::build(Read& read, Tlp& out) {
    const MemRequest& r = read.request;
    const uint32_t skip = read.offset == 0 ? first_byte(r) : 0;
    const uint32_t lower = static_cast<uint32_t>(r.address) + read.offset + skip;
    if (read.error == ReadError::kUr || read.error == ReadError::kCa) {
        out = make_completion(r, read.error == ReadError::kUr ? kUr : kCa, read.left, lower, 0);
        return true;
    }
    const uint32_t bytes = chunk(read);
    out = make_completion(r, kSc, read.left, lower, bytes / 4);
    if (read.error == ReadError::kPoisoned && read.offset == 0) out[0] |= kPoisoned;
    out.resize(3 + bytes / 4);
    std::memcpy(&out[3], read.data.data() + read.offset, bytes);
    read.offset += bytes;
    const bool last = read.offset == r.dws * 4;
    if (!last) read.left -= bytes - skip;
    return last;
}

}  // namespace myr

#include "memory.h"

#include <sys/mman.h>

#include <new>

namespace myr {

Memory::Memory(uint64_t bytes) : base_(nullptr), bytes_(bytes) {
    void* p = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (p == MAP_FAILED) throw std::bad_alloc();
    // domains are scattered page by page: a huge page would be cleared for each first touch
    madvise(p, bytes, MADV_NOHUGEPAGE);
    base_ = static_cast<uint8_t*>(p);
}

Memory::~Memory() { munmap(base_, bytes_); }

}  // namespace myr

"""Error numbers of hypercalls. Source: Xen `xen/include/public/errno.h` (values restated)."""

from __future__ import annotations

from enum import IntEnum


class Errno(IntEnum):
    """A hypercall that fails returns the negative of one of these."""

    EPERM = 1
    ENOENT = 2
    ESRCH = 3
    EIO = 5
    ENXIO = 6
    E2BIG = 7
    EAGAIN = 11
    ENOMEM = 12
    EACCES = 13
    EFAULT = 14
    EBUSY = 16
    EEXIST = 17
    EXDEV = 18
    ENODEV = 19
    EINVAL = 22
    ENOSPC = 28
    ERANGE = 34
    ENOSYS = 38
    ETIME = 62
    EOPNOTSUPP = 95
    ETIMEDOUT = 110
    EALREADY = 114


class HypercallError(RuntimeError):
    """A hypercall was refused; `errno` is the positive number, the text says why."""

    def __init__(self, errno: Errno, reason: str) -> None:
        super().__init__(reason)
        self.errno = errno

"""The system calls that Python has no function for."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path

MS_NOSUID, MS_NODEV, MS_REMOUNT, MS_BIND = 2, 4, 32, 4096
MNT_DETACH = 2
PR_SET_CHILD_SUBREAPER = 36

_libc = ctypes.CDLL(None, use_errno=True)


def _checked(result: int, what: str) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")


def become_subreaper() -> None:
    """Orphans of our children become ours, so that none stays a zombie for want of an init."""
    _checked(_libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0), "prctl(PR_SET_CHILD_SUBREAPER)")


def mount_tmpfs(target: Path, *, size_mb: int, files: int, remount: bool = False) -> None:
    """Mounts (or resizes) a tmpfs of `size_mb` MiB for so many files. Raises OSError."""
    flags = MS_NOSUID | MS_NODEV | (MS_REMOUNT if remount else 0)
    options = f"size={size_mb}m,nr_inodes={files},mode=0700".encode()
    _checked(
        _libc.mount(b"pushlane", os.fsencode(target), b"tmpfs", ctypes.c_ulong(flags), options),
        f"mount {target}",
    )


def mount_bind(source: Path, target: Path) -> None:
    """Shows the directory `source` at `target` too. Raises OSError."""
    _checked(
        _libc.mount(os.fsencode(source), os.fsencode(target), None, ctypes.c_ulong(MS_BIND), None),
        f"mount {target}",
    )


def mount_overlay(
    target: Path, *, lowers: Sequence[Path], upper: Path | None = None, work: Path | None = None
) -> None:
    """Shows `lowers`, the first one on top, with `upper` over them, which takes what is written.

    Without `upper` and its `work` nothing can be written. Raises OSError where the kernel or one of
    the file systems cannot.
    """
    handles: list[int] = []

    def named(directory: Path) -> str:
        # By descriptor: no character of a path means anything, and no option grows too long.
        flags = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
        handles.append(os.open(directory, flags))
        return f"/proc/self/fd/{handles[-1]}"

    try:
        above = []
        if upper is not None and work is not None:
            above = [f"upperdir={named(upper)}", f"workdir={named(work)}"]
        options = ",".join(
            (
                "lowerdir=" + ":".join(map(named, lowers)),
                *above,
                # A build may rename the directories of its source, as it may without layers.
                "redirect_dir=on,index=off,metacopy=off,xino=auto",
            )
        )
        _checked(
            _libc.mount(
                b"pushlane",
                os.fsencode(target),
                b"overlay",
                ctypes.c_ulong(MS_NOSUID | MS_NODEV),
                options.encode(),
            ),
            f"mount {target}",
        )
    finally:
        for handle in handles:
            os.close(handle)


def sync(directory: int) -> None:
    """Returns when all that was written to its file system is on the disk. Raises OSError."""
    _checked(_libc.syncfs(directory), "syncfs")


def unmount(target: Path) -> None:
    """Detaches what is mounted at `target`, in use or not. Raises OSError."""
    _checked(_libc.umount2(os.fsencode(target), MNT_DETACH), f"umount {target}")


def mounts_under(directory: Path) -> list[Path]:
    """Mount points below `directory`, deepest first."""
    found = []
    prefix = os.fsencode(directory) + b"/"
    for line in Path("/proc/self/mountinfo").read_bytes().splitlines():
        point = line.split(b" ")[4].decode("unicode_escape").encode("latin-1")
        if point.startswith(prefix):
            found.append(Path(os.fsdecode(point)))
    return sorted(found, key=lambda path: len(path.parts), reverse=True)


def remove_tree(path: Path) -> None:
    """Removes a directory that a stranger filled: no link is followed, mode 0 is no obstacle."""
    parent = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        _remove(parent, path.name)
    finally:
        os.close(parent)


def unlock(parent: int, name: str) -> None:
    """Makes a directory readable for its owner. A link put in its place is not followed."""
    handle = os.open(name, os.O_PATH | os.O_NOFOLLOW, dir_fd=parent)
    try:
        if stat.S_ISDIR(os.fstat(handle).st_mode):
            # The descriptor itself (O_PATH) takes no fchmod.
            Path(f"/proc/self/fd/{handle}").chmod(0o700)
    finally:
        os.close(handle)


def _open_directory(parent: int, name: str) -> int:
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_NONBLOCK
    with contextlib.suppress(OSError):
        unlock(parent, name)
    return os.open(name, flags, dir_fd=parent)


def _unlinked(parent: int, name: str) -> bool:
    try:
        os.unlink(name, dir_fd=parent)
    except (IsADirectoryError, PermissionError):
        return False
    return True


def _remove(parent: int, name: str) -> None:
    # A build may nest directories deeper than Python recurses and than a process may hold files
    # open: what lies two levels down is moved up instead of entered.
    top = _open_directory(parent, name)
    mark, serial = f".removed-{os.urandom(8).hex()}", 0
    try:
        while entries := os.listdir(top):  # noqa: PTH208 - a descriptor, no path
            for entry in entries:
                if _unlinked(top, entry):
                    continue
                handle = _open_directory(top, entry)
                try:
                    for child in os.listdir(handle):  # noqa: PTH208 - likewise
                        if not _unlinked(handle, child):
                            unlock(handle, child)
                            serial += 1
                            moved = f"{mark}-{serial}"
                            os.rename(child, moved, src_dir_fd=handle, dst_dir_fd=top)
                finally:
                    os.close(handle)
                os.rmdir(entry, dir_fd=top)
    finally:
        os.close(top)
    os.rmdir(name, dir_fd=parent)


def size_of_tree(path: Path, *, most_bytes: int, most_files: int) -> tuple[int, int]:
    """Bytes on disk below `path`, and files, directories and links; no further than to the most.

    Unreadable directories are made readable, so that none hides its size. One that lies deeper
    than the kernel takes in one path counts as the most of both.
    """
    size, count, pending = 0, 0, [path]
    while pending:
        directory = pending.pop()
        try:
            for entry in _entries(directory):
                with contextlib.suppress(FileNotFoundError):
                    status = entry.stat(follow_symlinks=False)
                    size += status.st_blocks * 512
                    if stat.S_ISDIR(status.st_mode):
                        pending.append(Path(entry.path))
                count += 1
                if size >= most_bytes or count >= most_files:
                    return size, count
        except OSError as error:
            if error.errno == errno.ENAMETOOLONG:
                return most_bytes, most_files
    return size, count


def _entries(directory: Path) -> Iterator[os.DirEntry[str]]:
    try:
        found = os.scandir(directory)
    except PermissionError:
        _unlock_at(directory)
        found = os.scandir(directory)
    with found:
        yield from found


def own_tree(path: Path, *, uid: int, gid: int) -> None:
    """Gives a directory and all below it to `uid`, unless its top belongs to it already."""
    if os.lstat(path).st_uid == uid:
        return
    for _, directories, files, handle in os.fwalk(path, topdown=False, follow_symlinks=False):
        for name in (*directories, *files):
            with contextlib.suppress(FileNotFoundError):
                os.chown(name, uid, gid, dir_fd=handle, follow_symlinks=False)
    os.chown(path, uid, gid, follow_symlinks=False)


def _unlock_at(path: Path) -> None:
    parent = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        unlock(parent, path.name)
    finally:
        os.close(parent)

/*
 * file.c: may this file be loaded as a plugin? Who can write it, and is its ELF frame whole:
 * dlopen is no safe parser, and kills the process over a truncated file.
 *
 * The file is opened once; what is checked here is what is loaded, through the same descriptor.
 * What code in the file does is not judged: see probe.c.
 */
#include "front.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#if defined(__x86_64__)
enum { OWN_MACHINE = EM_X86_64 };
#elif defined(__aarch64__)
enum { OWN_MACHINE = EM_AARCH64 };
#endif

enum { SEGMENTS_MAX = 64, SPAN_MAX = 1 << 30 };

static bool owner_trusted(const struct stat *st, const char *what, const char *path,
                          char why[MESSAGE_MAX])
{
    if (st->st_uid != 0 && st->st_uid != geteuid()) {
        message(why, "%s%.400s belongs to user %u; it must be root's or your own", what, path,
                (unsigned)st->st_uid);
        return false;
    }
    if (st->st_mode & (S_IWGRP | S_IWOTH)) {
        message(why, "%s%.400s can be written by %s; run: chmod go-w '%.400s'", what, path,
                st->st_mode & S_IWOTH ? "everybody" : "its group", path);
        return false;
    }
    return true;
}

static bool inside(uint64_t off, uint64_t len, uint64_t size)
{
    return len <= size && off <= size - len;
}

/* Program headers: segments in the file, in ascending order, no wilder than a plugin can be. */
static bool segments_sane(const Elf64_Phdr *ph, unsigned count, uint64_t size)
{
    uint64_t end = 0;
    bool any = false, dynamic = false;
    for (unsigned i = 0; i < count; i++) {
        if (ph[i].p_type == PT_DYNAMIC)
            dynamic = true;
        if (ph[i].p_type == PT_NULL || ph[i].p_filesz == 0)
            continue;
        if (!inside(ph[i].p_offset, ph[i].p_filesz, size))
            return false;
        if (ph[i].p_type != PT_LOAD)
            continue;
        uint64_t align = ph[i].p_align;
        if (ph[i].p_filesz > ph[i].p_memsz || !inside(ph[i].p_vaddr, ph[i].p_memsz, SPAN_MAX) ||
            ph[i].p_vaddr < end || (align & (align - 1)) || align > SPAN_MAX ||
            (align && (ph[i].p_vaddr - ph[i].p_offset) % align))
            return false;
        end = ph[i].p_vaddr + ph[i].p_memsz;
        any = true;
    }
    /* What the dynamic linker reads without looking must be in memory. */
    for (unsigned i = 0; i < count; i++) {
        bool mapped =
            ph[i].p_type != PT_DYNAMIC && ph[i].p_type != PT_GNU_RELRO && ph[i].p_type != PT_TLS;
        if (!mapped && !inside(ph[i].p_vaddr, ph[i].p_memsz, (end + 4095) & ~UINT64_C(4095)))
            return false;
    }
    return any && dynamic;
}

static bool elf_sane(int fd, uint64_t size, char why[MESSAGE_MAX])
{
    Elf64_Ehdr h;
    Elf64_Phdr ph[SEGMENTS_MAX];
    if (pread(fd, &h, sizeof h, 0) != (ssize_t)sizeof h || memcmp(h.e_ident, ELFMAG, SELFMAG)) {
        message(why, "is no shared object (ELF)");
        return false;
    }
    if (h.e_ident[EI_CLASS] != ELFCLASS64 || h.e_ident[EI_DATA] != ELFDATA2LSB ||
        h.e_machine != OWN_MACHINE) {
        message(why, "is for another processor (ELF class %u, machine %u; this mobo needs 2, %u)",
                h.e_ident[EI_CLASS], h.e_machine, (unsigned)OWN_MACHINE);
        return false;
    }
    if (h.e_type != ET_DYN) {
        message(why, "is no shared object (ELF type %u)", h.e_type);
        return false;
    }
    uint64_t table = (uint64_t)h.e_phnum * sizeof ph[0];
    uint64_t sections = (uint64_t)h.e_shnum * h.e_shentsize;
    if (h.e_phnum == 0 || h.e_phnum > SEGMENTS_MAX || h.e_phentsize != sizeof ph[0] ||
        !inside(h.e_phoff, table, size) || !inside(h.e_shoff, sections, size) ||
        pread(fd, ph, table, (off_t)h.e_phoff) != (ssize_t)table ||
        !segments_sane(ph, h.e_phnum, size)) {
        message(why, "is truncated or damaged (%llu bytes); install it again",
                (unsigned long long)size);
        return false;
    }
    return true;
}

static bool file_sane(int fd, const char *path, char why[MESSAGE_MAX])
{
    struct stat st;
    if (fstat(fd, &st) != 0) {
        message(why, "%s", strerror(errno));
        return false;
    }
    if (!S_ISREG(st.st_mode)) {
        message(why, "is %s, not a file",
                S_ISDIR(st.st_mode)    ? "a folder"
                : S_ISFIFO(st.st_mode) ? "a FIFO"
                                       : "a special file");
        return false;
    }
    return owner_trusted(&st, "", path, why) && elf_sane(fd, (uint64_t)st.st_size, why);
}

int plugin_open(const char *path, bool *missing, char why[MESSAGE_MAX])
{
    char dir[4096];
    const char *slash = strrchr(path, '/');
    struct stat st;
    *missing = false;
    if (!slash || (size_t)(slash - path) + 2 > sizeof dir) {
        message(why, "the path is too long");
        return -1;
    }
    memcpy(dir, path, (size_t)(slash - path) + 1);
    dir[slash - path + (slash == path)] = '\0';
    /* The folder is held open, so nobody can swap it between the check and the use. */
    int dir_fd = open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
    int fd = -1;
    if (dir_fd < 0 || fstat(dir_fd, &st) != 0) {
        *missing = errno == ENOENT;
        message(why, "%s", strerror(errno));
    } else if (owner_trusted(&st, "the folder ", dir, why)) {
        /* O_NONBLOCK: a FIFO must not make us wait for a writer. */
        fd = openat(dir_fd, slash + 1, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC | O_NOCTTY);
        if (fd < 0) {
            *missing = errno == ENOENT;
            message(why, "%s",
                    errno == ELOOP ? "is a symbolic link; name the file itself" : strerror(errno));
        } else if (!file_sane(fd, path, why)) {
            (void)close(fd);
            fd = -1;
        }
    }
    if (dir_fd >= 0)
        (void)close(dir_fd);
    return fd;
}

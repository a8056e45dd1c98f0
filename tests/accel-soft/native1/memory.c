/*
 * memory.c: one memfd seen several times: natively at the linear addresses of native1.h with the
 * rights that a page is to have, once more writable for the test itself, and whole as guest RAM.
 */
#include "native1.h"

#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

uint32_t memory_file_off(unsigned data_page)
{
    return FILE_DATA + (data_page * 5 + 3) % DATA_PAGES * 4096;
}

static void *map(void *at, size_t len, int prot, int fd, uint32_t off)
{
    int flags = MAP_SHARED | MAP_POPULATE | (at ? MAP_FIXED : 0);
    void *p = mmap(at, len, prot, flags, fd, off);
    return p == MAP_FAILED ? NULL : p;
}

int memory_init(struct memory *m)
{
    memset(m, 0, sizeof *m);
    m->fd = memfd_create("native1", MFD_CLOEXEC);
    if (m->fd < 0 || ftruncate(m->fd, FILE_LEN))
        return -1;
    m->file = map(NULL, FILE_LEN, PROT_READ | PROT_WRITE, m->fd, 0);
    /* reserve the places first; the pages are then put over them */
    void *data_at = (void *)(uintptr_t)DATA, *code_at = (void *)(uintptr_t)CODE;
    m->data = mmap(NULL, DATA_LEN, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (!m->file || m->data == MAP_FAILED ||
        mmap(data_at, DATA_LEN, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1,
             0) != data_at ||
        mmap(code_at, CODE_LEN, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1,
             0) != code_at)
        return -1;
    m->code = m->file + FILE_CODE;
    if (!map(code_at, CODE_LEN, PROT_READ | PROT_EXEC, m->fd, FILE_CODE))
        return -1;
    for (unsigned i = 0; i < DATA_PAGES; i++) {
        uint8_t *at = (uint8_t *)data_at + i * 4096u;
        char rights = DATA_RIGHTS[i];
        uint32_t off = memory_file_off(i);
        if (!map(m->data + i * 4096u, 4096, PROT_READ | PROT_WRITE, m->fd, off))
            return -1;
        memset(m->data + i * 4096u, 0x5a, 4096);
        if (rights == 'N')
            continue;
        if (!map(at, 4096, rights == 'W' ? PROT_READ | PROT_WRITE : PROT_READ, m->fd, off))
            return -1;
    }
    return 0;
}

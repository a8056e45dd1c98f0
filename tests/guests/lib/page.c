/* page.c: page allocation and the 4-level page tables of a 64-bit guest (SDM 3A, 4.5). */
#include "guest.h"

#define POOL_BEGIN UINT64_C(0x1000000)
#define POOL_END UINT64_C(0x8000000)

static u64 pool = POOL_BEGIN;

u64 page_alloc(void)
{
    if (pool == POOL_END) {
        printf("FAIL page_alloc: no page left\n");
        power_off();
    }
    u64 page = pool;
    pool += 4096;
    memset((void *)page, 0, 4096);
    return page;
}

u64 *entry_at(u64 va, int level)
{
    u64 *table = (u64 *)(read_cr3() & PG_ADDR);
    for (int at = 4;; at--) {
        u64 *e = &table[va >> (12 + 9 * (at - 1)) & 511];
        if (at == level)
            return e;
        if (!(*e & PG_P))
            *e = page_alloc() | PG_P | PG_W | PG_U;
        table = (u64 *)(*e & PG_ADDR);
    }
}

u64 *pte(u64 va)
{
    return entry_at(va, 1);
}

void map_page(u64 va, u64 pa, u64 flags)
{
    *pte(va) = pa | flags;
    invlpg(va);
}

/* kv_cache_test.c
 * What: commands do what step.h says, a command or position that breaks the contract is refused
 *       and changes nothing, and no two slots ever see each other's keys.
 * How:  random commands against a brute-force model in which every position of every slot is a
 *       number; what was written through the cache must be read back through it.
 */
#include "common/log.h"
#include "tests/worker/random.h"
#include "worker/kv_cache.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#define SLOTS 5u
#define PAGES 13u
#define CONTEXT 300u /* five pages, the last one not whole */
#define PER_SLOT 5u
#define LAYERS 2u
#define HEADS 3u
#define HEAD_SIZE 4u

static const bn_kv_cache_config config = {
    .n_layers = LAYERS,
    .n_kv_heads = HEADS,
    .head_size = HEAD_SIZE,
    .n_pages = PAGES,
    .n_slots = SLOTS,
    .context = CONTEXT,
};

typedef struct oracle {
    uint16_t value[SLOTS][PER_SLOT * BN_KV_PAGE_POSITIONS]; /* what each position holds */
    uint32_t page[SLOTS][PER_SLOT];                         /* any distinct names */
    uint32_t held[SLOTS], length[SLOTS];
    uint32_t next_name;
} oracle;

static uint32_t users_of(const oracle *o, uint32_t name)
{
    uint32_t n = 0;
    for (uint32_t s = 0; s < SLOTS; s++)
        for (uint32_t i = 0; i < o->held[s]; i++)
            n += o->page[s][i] == name;
    return n;
}

static uint32_t pages_used(const oracle *o)
{
    uint32_t n = 0;
    for (uint32_t name = 1; name <= o->next_name; name++)
        n += users_of(o, name) > 0;
    return n;
}

/* False when the contract forbids it. */
static bool oracle_apply(oracle *o, const bn_kv_command *c)
{
    uint32_t s = c->slot;
    if (s >= SLOTS) return false;
    switch (c->kind) {
    case BN_KV_ALLOC:
        if (c->count < o->held[s] || c->count > PER_SLOT) return false;
        if (c->count - o->held[s] > PAGES - pages_used(o)) return false;
        while (o->held[s] < c->count)
            o->page[s][o->held[s]++] = ++o->next_name;
        return true;
    case BN_KV_SHARE:
        if (c->source >= SLOTS || c->source == s || o->held[s] != 0) return false;
        if (c->count * BN_KV_PAGE_POSITIONS > o->length[c->source]) return false;
        o->held[s] = c->count;
        o->length[s] = c->count * BN_KV_PAGE_POSITIONS;
        memcpy(o->page[s], o->page[c->source], sizeof o->page[s]);
        memcpy(o->value[s], o->value[c->source], sizeof o->value[s]);
        return true;
    case BN_KV_TRUNCATE:
        if (c->count > o->length[s]) return false;
        o->length[s] = c->count;
        o->held[s] = (c->count + BN_KV_PAGE_POSITIONS - 1) / BN_KV_PAGE_POSITIONS;
        return true;
    case BN_KV_FREE: o->length[s] = o->held[s] = 0; return true;
    }
    return false;
}

static bool oracle_extend(oracle *o, uint32_t slot, uint32_t position, uint32_t n)
{
    if (position > o->length[slot] || position + n > CONTEXT) return false;
    if (position + n > o->held[slot] * BN_KV_PAGE_POSITIONS) return false;
    for (uint32_t p = position; p < position + n; p++)
        if (users_of(o, o->page[slot][p / BN_KV_PAGE_POSITIONS]) != 1) return false;
    o->length[slot] = position + n;
    return true;
}

static void write_position(bn_kv_cache *cache, uint32_t slot, uint32_t position, uint16_t value)
{
    for (uint32_t layer = 0; layer < LAYERS; layer++)
        for (uint32_t head = 0; head < HEADS; head++) {
            uint16_t *k, *v;
            bn_kv_cache_row(cache, slot, layer, head, position, &k, &v);
            for (uint32_t d = 0; d < HEAD_SIZE; d++) {
                k[d] = (uint16_t)(value + 2 * layer);
                v[d] = (uint16_t)(value + 100 * head + d);
            }
        }
}

static void check_slot(const bn_kv_cache *cache, const oracle *o, uint32_t slot)
{
    assert_int_equal(bn_kv_cache_length(cache, slot), o->length[slot]);
    assert_int_equal(bn_kv_cache_held(cache, slot), o->held[slot]);
    for (uint32_t p = 0; p < o->length[slot]; p++)
        for (uint32_t layer = 0; layer < LAYERS; layer++)
            for (uint32_t head = 0; head < HEADS; head++) {
                bn_kv_view view = bn_kv_cache_view(cache, slot, layer, head);
                const uint16_t *page = view.pages[p / BN_KV_PAGE_POSITIONS];
                size_t row = (size_t)(p % BN_KV_PAGE_POSITIONS) * HEAD_SIZE;
                uint16_t value = o->value[slot][p];
                for (uint32_t d = 0; d < HEAD_SIZE; d++) {
                    assert_int_equal(page[view.k_offset + row + d], (uint16_t)(value + 2 * layer));
                    assert_int_equal(page[view.v_offset + row + d],
                                     (uint16_t)(value + 100 * head + d));
                }
            }
}

static bn_kv_cache *make_cache(bn_arena **arena_out)
{
    bn_kv_cache *cache;
    assert_int_equal(bn_arena_create("test", 1u << 20, arena_out), BN_OK);
    assert_int_equal(bn_kv_cache_create(&config, *arena_out, *arena_out, &cache), BN_OK);
    return cache;
}

static void test_random_commands_match_brute_force(void **unused)
{
    (void)unused;
    bn_arena *arena;
    bn_kv_cache *cache = make_cache(&arena);
    static oracle o;
    uint64_t state = 7;
    uint32_t n_done = 0, n_refused = 0;
    for (uint32_t round = 0; round < 20000; round++) {
        uint32_t slot = random_below(&state, SLOTS);
        if (random_below(&state, 2) == 0) {
            bn_kv_command c = {
                .kind = (bn_kv_command_kind)(1 + random_below(&state, 4)),
                .slot = random_below(&state, 50) == 0 ? SLOTS : slot,
                .source = random_below(&state, SLOTS + 1),
                .count = random_below(&state, PER_SLOT + 2),
            };
            if (c.kind == BN_KV_TRUNCATE) c.count = random_below(&state, CONTEXT);
            bool is_allowed = oracle_apply(&o, &c);
            assert_int_equal(bn_kv_cache_apply(cache, &c, 1),
                             is_allowed ? BN_OK : BN_ERR_BAD_MESSAGE);
            n_done += is_allowed;
            n_refused += !is_allowed;
        } else {
            uint32_t position = o.length[slot] + (random_below(&state, 20) == 0);
            uint32_t n = 1 + random_below(&state, 90);
            if (random_below(&state, 4) == 0) position = random_below(&state, position + 1);
            bool is_allowed = oracle_extend(&o, slot, position, n);
            assert_int_equal(bn_kv_cache_extend(cache, slot, position, n),
                             is_allowed ? BN_OK : BN_ERR_BAD_MESSAGE);
            for (uint32_t p = position; is_allowed && p < position + n; p++) {
                o.value[slot][p] = (uint16_t)random_next(&state);
                write_position(cache, slot, p, o.value[slot][p]);
            }
        }
        assert_int_equal(bn_kv_cache_pages_used(cache), pages_used(&o));
        if (round % 50 == 0)
            for (uint32_t s = 0; s < SLOTS; s++)
                check_slot(cache, &o, s);
        if (o.next_name > 2000) {
            o.next_name = 0; /* names are reused once nothing is held */
            for (uint32_t s = 0; s < SLOTS; s++) {
                bn_kv_command c = {.kind = BN_KV_FREE, .slot = s};
                assert_true(oracle_apply(&o, &c));
                assert_int_equal(bn_kv_cache_apply(cache, &c, 1), BN_OK);
            }
        }
    }
    assert_true(n_done > 1000 && n_refused > 1000);
    bn_kv_cache_destroy(cache);
    bn_arena_destroy(arena);
}

static void test_a_shared_page_may_be_written_once_it_is_owned_alone(void **unused)
{
    (void)unused;
    bn_arena *arena;
    bn_kv_cache *cache = make_cache(&arena);
    const bn_kv_command share[] = {{.kind = BN_KV_SHARE, .slot = 1, .source = 0, .count = 1}};
    const bn_kv_command alloc[] = {{.kind = BN_KV_ALLOC, .slot = 0, .count = 2}};
    const bn_kv_command release[] = {{.kind = BN_KV_FREE, .slot = 1}};
    assert_int_equal(bn_kv_cache_apply(cache, alloc, 1), BN_OK);
    assert_int_equal(bn_kv_cache_apply(cache, share, 1), BN_ERR_BAD_MESSAGE); /* nothing written */
    assert_int_equal(bn_kv_cache_extend(cache, 0, 0, 65), BN_OK);
    assert_int_equal(bn_kv_cache_apply(cache, share, 1), BN_OK);
    assert_int_equal(bn_kv_cache_pages_used(cache), 2);
    assert_int_equal(bn_kv_cache_extend(cache, 0, 63, 1), BN_ERR_BAD_MESSAGE);
    assert_int_equal(bn_kv_cache_extend(cache, 0, 65, 1), BN_OK);
    assert_int_equal(bn_kv_cache_apply(cache, release, 1), BN_OK);
    assert_int_equal(bn_kv_cache_extend(cache, 0, 63, 1), BN_OK);
    bn_kv_cache_destroy(cache);
    bn_arena_destroy(arena);
}

static void test_a_stage_without_layers_counts_pages_all_the_same(void **unused)
{
    (void)unused;
    bn_arena *arena;
    bn_kv_cache *cache;
    bn_kv_cache_config empty = config;
    empty.n_layers = 0;
    const bn_kv_command alloc[] = {{.kind = BN_KV_ALLOC, .slot = 0, .count = 3}};
    assert_int_equal(bn_arena_create("test", 1u << 16, &arena), BN_OK);
    assert_int_equal(bn_kv_cache_create(&empty, arena, arena, &cache), BN_OK);
    assert_int_equal(bn_kv_cache_apply(cache, alloc, 1), BN_OK);
    assert_int_equal(bn_kv_cache_extend(cache, 0, 0, 192), BN_OK);
    assert_int_equal(bn_kv_cache_extend(cache, 0, 192, 1), BN_ERR_BAD_MESSAGE);
    bn_kv_cache_destroy(cache);
    bn_arena_destroy(arena);
}

int main(void)
{
    bn_log_set_quiet(true);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_random_commands_match_brute_force),
        cmocka_unit_test(test_a_shared_page_may_be_written_once_it_is_owned_alone),
        cmocka_unit_test(test_a_stage_without_layers_counts_pages_all_the_same),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

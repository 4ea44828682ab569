/* kv_cache.c — paged layout.
 *
 * All local layers of 64 positions share a page, so one table per slot serves every layer and a
 * command costs the same on every stage. The free list is a stack of indices: page numbers, not
 * addresses, decide which page comes next, so every run hands out the same ones.
 */
#include "worker/kv_cache.h"

#include "common/alloc.h"
#include "common/log.h"
#include "worker/reserve.h"

#include <inttypes.h>

typedef struct slot_state {
    uint32_t held;   /* pages */
    uint32_t length; /* positions written from the start without a gap */
} slot_state;

struct bn_kv_cache {
    bn_kv_cache_config config;
    uint32_t pages_per_slot;
    size_t head_elements;  /* one head's K or V in a page */
    size_t layer_elements; /* one layer in a page */
    size_t page_elements;
    uint16_t *memory;
    uint16_t **tables; /* [slot][page] addresses */
    uint32_t *numbers; /* [slot][page] page numbers */
    slot_state *slots;
    uint32_t *references; /* [page] slots that hold it */
    uint32_t *free_stack;
    uint32_t n_free;
};

static bn_status take_parts(bn_kv_cache *cache, bn_arena *page_arena, bn_arena *table_arena)
{
    const bn_kv_cache_config *c = &cache->config;
    size_t n_entries = (size_t)c->n_slots * cache->pages_per_slot;
    bn_reserve pages = {.arena = page_arena};
    cache->memory = bn_reserve_take(&pages, c->n_pages, cache->page_elements * sizeof(uint16_t));
    bn_reserve reserve = {.arena = table_arena, .status = pages.status};
    cache->tables = bn_reserve_take(&reserve, n_entries, sizeof *cache->tables);
    cache->numbers = bn_reserve_take(&reserve, n_entries, sizeof *cache->numbers);
    cache->slots = bn_reserve_take(&reserve, c->n_slots, sizeof *cache->slots);
    cache->references = bn_reserve_take(&reserve, c->n_pages, sizeof *cache->references);
    cache->free_stack = bn_reserve_take(&reserve, c->n_pages, sizeof *cache->free_stack);
    return reserve.status;
}

bn_status bn_kv_cache_create(const bn_kv_cache_config *config, bn_arena *page_arena,
                             bn_arena *table_arena, bn_kv_cache **cache_out)
{
    BN_ASSERT(config->n_slots >= 1);
    BN_ASSERT(config->n_slots <= BN_SLOTS_MAX);
    BN_ASSERT(config->context >= 1);
    bn_kv_cache *cache = bn_alloc(1, sizeof *cache);
    if (cache == NULL) return bn_fail(BN_ERR_NO_MEMORY, "KV-CREATE", "no memory for the cache");
    cache->config = *config;
    cache->pages_per_slot = (config->context + BN_KV_PAGE_POSITIONS - 1) / BN_KV_PAGE_POSITIONS;
    cache->head_elements = (size_t)BN_KV_PAGE_POSITIONS * config->head_size;
    cache->layer_elements = cache->head_elements * config->n_kv_heads * 2;
    cache->page_elements = cache->layer_elements * config->n_layers;
    bn_status status = take_parts(cache, page_arena, table_arena);
    if (status != BN_OK) {
        bn_free(cache);
        return status;
    }

    cache->n_free = config->n_pages;
    for (uint32_t i = 0; i < config->n_pages; i++) {
        cache->free_stack[i] = config->n_pages - 1 - i;
    }
    *cache_out = cache;
    return BN_OK;
}

void bn_kv_cache_destroy(bn_kv_cache *cache)
{
    bn_free(cache);
}

static uint32_t *numbers_of(const bn_kv_cache *cache, uint32_t slot)
{
    return cache->numbers + (size_t)slot * cache->pages_per_slot;
}

static uint16_t **table_of(const bn_kv_cache *cache, uint32_t slot)
{
    return cache->tables + (size_t)slot * cache->pages_per_slot;
}

static void hold_page(bn_kv_cache *cache, uint32_t slot, uint32_t number)
{
    slot_state *state = &cache->slots[slot];
    cache->references[number]++;
    numbers_of(cache, slot)[state->held] = number;
    table_of(cache, slot)[state->held] = cache->memory + number * cache->page_elements;
    state->held++;
}

static void release_down_to(bn_kv_cache *cache, uint32_t slot, uint32_t held)
{
    slot_state *state = &cache->slots[slot];
    while (state->held > held) {
        state->held--;
        uint32_t number = numbers_of(cache, slot)[state->held];
        BN_ASSERT(cache->references[number] > 0);
        cache->references[number]--;
        table_of(cache, slot)[state->held] = NULL;
        if (cache->references[number] == 0) cache->free_stack[cache->n_free++] = number;
    }
}

static bn_status apply_alloc(bn_kv_cache *cache, const bn_kv_command *command)
{
    uint32_t held = cache->slots[command->slot].held;
    if (command->count < held || command->count > cache->pages_per_slot) {
        return bn_fail(BN_ERR_BAD_MESSAGE, "KV-ALLOC",
                       "kv command gives slot %" PRIu32 " %" PRIu32 " pages; it holds %" PRIu32
                       " and may hold %" PRIu32,
                       command->slot, command->count, held, cache->pages_per_slot);
    }
    if (command->count - held > cache->n_free) {
        return bn_fail(BN_ERR_BAD_MESSAGE, "KV-ALLOC",
                       "kv command gives slot %" PRIu32 " %" PRIu32 " more pages; %" PRIu32
                       " of %" PRIu32 " are free",
                       command->slot, command->count - held, cache->n_free, cache->config.n_pages);
    }
    while (cache->slots[command->slot].held < command->count) {
        hold_page(cache, command->slot, cache->free_stack[--cache->n_free]);
    }
    return BN_OK;
}

static bn_status apply_share(bn_kv_cache *cache, const bn_kv_command *command)
{
    if (command->source >= cache->config.n_slots || command->source == command->slot) {
        return bn_fail(BN_ERR_BAD_MESSAGE, "KV-SHARE",
                       "kv command shares slot %" PRIu32 " with slot %" PRIu32 " of %" PRIu32,
                       command->source, command->slot, cache->config.n_slots);
    }
    const slot_state *source = &cache->slots[command->source];
    if (cache->slots[command->slot].held != 0) {
        return bn_fail(BN_ERR_BAD_MESSAGE, "KV-SHARE",
                       "kv command shares pages into slot %" PRIu32 ", which is not empty",
                       command->slot);
    }
    if (command->count > source->length / BN_KV_PAGE_POSITIONS) {
        return bn_fail(BN_ERR_BAD_MESSAGE, "KV-SHARE",
                       "kv command shares %" PRIu32 " pages of slot %" PRIu32
                       ", which has filled %" PRIu32,
                       command->count, command->source, source->length / BN_KV_PAGE_POSITIONS);
    }
    for (uint32_t i = 0; i < command->count; i++) {
        hold_page(cache, command->slot, numbers_of(cache, command->source)[i]);
    }
    cache->slots[command->slot].length = command->count * BN_KV_PAGE_POSITIONS;
    return BN_OK;
}

static bn_status apply_truncate(bn_kv_cache *cache, const bn_kv_command *command)
{
    slot_state *state = &cache->slots[command->slot];
    if (command->count > state->length) {
        return bn_fail(BN_ERR_BAD_MESSAGE, "KV-TRUNCATE",
                       "kv command keeps %" PRIu32 " positions of slot %" PRIu32
                       ", which has %" PRIu32,
                       command->count, command->slot, state->length);
    }
    state->length = command->count;
    release_down_to(cache, command->slot,
                    (command->count + BN_KV_PAGE_POSITIONS - 1) / BN_KV_PAGE_POSITIONS);
    return BN_OK;
}

static bn_status apply_one(bn_kv_cache *cache, const bn_kv_command *command)
{
    if (command->slot >= cache->config.n_slots) {
        return bn_fail(BN_ERR_BAD_MESSAGE, "KV-SLOT", "kv command for slot %" PRIu32 " of %" PRIu32,
                       command->slot, cache->config.n_slots);
    }
    switch (command->kind) {
    case BN_KV_ALLOC: return apply_alloc(cache, command);
    case BN_KV_SHARE: return apply_share(cache, command);
    case BN_KV_TRUNCATE: return apply_truncate(cache, command);
    case BN_KV_FREE:
        release_down_to(cache, command->slot, 0);
        cache->slots[command->slot].length = 0;
        return BN_OK;
    }
    return bn_fail(BN_ERR_BAD_MESSAGE, "KV-KIND", "kv command of unknown kind %d",
                   (int)command->kind);
}

bn_status bn_kv_cache_apply(bn_kv_cache *cache, const bn_kv_command *commands, uint32_t n_commands)
{
    for (uint32_t i = 0; i < n_commands; i++) {
        BN_TRY(apply_one(cache, &commands[i]));
    }
    return BN_OK;
}

bn_status bn_kv_cache_extend(bn_kv_cache *cache, uint32_t slot, uint32_t position,
                             uint32_t n_tokens)
{
    BN_ASSERT(slot < cache->config.n_slots);
    BN_ASSERT(n_tokens > 0);
    slot_state *state = &cache->slots[slot];
    uint64_t end = (uint64_t)position + n_tokens;
    if (position > state->length) {
        return bn_fail(BN_ERR_BAD_MESSAGE, "KV-GAP",
                       "step writes position %" PRIu32 " of slot %" PRIu32
                       ", which has only %" PRIu32,
                       position, slot, state->length);
    }
    if (end > (uint64_t)state->held * BN_KV_PAGE_POSITIONS || end > cache->config.context) {
        return bn_fail(BN_ERR_BAD_MESSAGE, "KV-PAGE",
                       "step writes position %" PRIu64 " of slot %" PRIu32 ", which holds %" PRIu32
                       " pages of %d positions and a context of %" PRIu32,
                       end - 1, slot, state->held, BN_KV_PAGE_POSITIONS, cache->config.context);
    }
    uint32_t page_end = (uint32_t)((end - 1) / BN_KV_PAGE_POSITIONS) + 1;
    for (uint32_t page = position / BN_KV_PAGE_POSITIONS; page < page_end; page++) {
        if (cache->references[numbers_of(cache, slot)[page]] == 1) continue;
        return bn_fail(BN_ERR_BAD_MESSAGE, "KV-SHARED",
                       "step writes into page %" PRIu32 " of slot %" PRIu32
                       ", which another slot shares",
                       page, slot);
    }
    state->length = (uint32_t)end;
    return BN_OK;
}

bn_kv_view bn_kv_cache_view(const bn_kv_cache *cache, uint32_t slot, uint32_t layer,
                            uint32_t kv_head)
{
    size_t k_offset = layer * cache->layer_elements + kv_head * cache->head_elements;
    return (bn_kv_view){
        .pages = table_of(cache, slot),
        .k_offset = k_offset,
        .v_offset = k_offset + cache->layer_elements / 2,
    };
}

void bn_kv_cache_row(const bn_kv_cache *cache, uint32_t slot, uint32_t layer, uint32_t kv_head,
                     uint32_t position, uint16_t **key_out, uint16_t **value_out)
{
    bn_kv_view view = bn_kv_cache_view(cache, slot, layer, kv_head);
    uint16_t *page = view.pages[position / BN_KV_PAGE_POSITIONS];
    size_t row = (size_t)(position % BN_KV_PAGE_POSITIONS) * cache->config.head_size;
    *key_out = page + view.k_offset + row;
    *value_out = page + view.v_offset + row;
}

uint32_t bn_kv_cache_length(const bn_kv_cache *cache, uint32_t slot)
{
    BN_ASSERT(slot < cache->config.n_slots);
    return cache->slots[slot].length;
}

uint32_t bn_kv_cache_held(const bn_kv_cache *cache, uint32_t slot)
{
    BN_ASSERT(slot < cache->config.n_slots);
    return cache->slots[slot].held;
}

uint32_t bn_kv_cache_pages_used(const bn_kv_cache *cache)
{
    return cache->config.n_pages - cache->n_free;
}

uint32_t bn_kv_cache_pages_total(const bn_kv_cache *cache)
{
    return cache->config.n_pages;
}

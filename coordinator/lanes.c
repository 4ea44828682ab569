/* lanes.c — a ring: the oldest lane is at `first`, new ones begin behind the youngest. */
#include "coordinator/lanes.h"

#include "common/progress.h"
#include "coordinator/interrupt.h"

#define PUMP_MS 200u
#define LANES_PER_SLOT 2u

typedef struct lanes {
    const bn_lanes_config *config;
    bn_dialog *dialogs[BN_LANES_MAX]; /* NULL: done, or not in use */
    uint32_t first, n_used;
    bool is_row_over;
    bn_progress progress;
} lanes;

static uint32_t lane_at(const lanes *l, uint32_t i)
{
    return (l->first + i) % l->config->n_lanes;
}

static void close_finished(lanes *l)
{
    for (uint32_t i = 0; i < l->n_used; i++) {
        bn_dialog **dialog = &l->dialogs[lane_at(l, i)];
        if (*dialog == NULL || bn_dialog_answer(*dialog)->finish == BN_FINISH_NOT_YET) continue;
        bn_generate_close(l->config->generate, *dialog);
        *dialog = NULL;
    }
}

static bn_status end_oldest(lanes *l)
{
    while (l->n_used > 0 && l->dialogs[l->first] == NULL) {
        bn_progress_end(&l->progress); /* out of the way of what is printed */
        BN_TRY(l->config->end(l->config->context, l->first));
        l->first = lane_at(l, 1);
        l->n_used--;
    }
    return BN_OK;
}

static bn_status begin_more(lanes *l)
{
    while (l->n_used < l->config->n_lanes && !l->is_row_over) {
        uint32_t lane = lane_at(l, l->n_used);
        BN_TRY(l->config->begin(l->config->context, lane, &l->dialogs[lane]));
        l->is_row_over = l->dialogs[lane] == NULL;
        l->n_used += !l->is_row_over;
    }
    return BN_OK;
}

static bn_status turn(lanes *l)
{
    close_finished(l);
    BN_TRY(end_oldest(l));
    BN_TRY(begin_more(l));
    if (l->n_used == 0) return BN_OK;
    BN_TRY(bn_generate_pump(l->config->generate, NULL, 0, PUMP_MS, NULL));
    return bn_interrupt_count() > 0 ? BN_ERR_INTERRUPTED : BN_OK;
}

uint32_t bn_lanes_for(uint32_t n_slots)
{
    return n_slots < BN_LANES_MAX / LANES_PER_SLOT ? n_slots * LANES_PER_SLOT : BN_LANES_MAX;
}

bn_status bn_lanes_run(const bn_lanes_config *config)
{
    BN_ASSERT(config->n_lanes > 0 && config->n_lanes <= BN_LANES_MAX);
    lanes l = {.config = config};
    bn_status status = BN_OK;
    bn_progress_begin(&l.progress, config->label, config->total);
    do {
        status = turn(&l);
        bn_progress_update(&l.progress, config->n_done(config->context));
    } while (status == BN_OK && l.n_used > 0);
    bn_progress_end(&l.progress);
    for (uint32_t i = 0; i < config->n_lanes; i++)
        bn_generate_close(config->generate, l.dialogs[i]);
    return status;
}

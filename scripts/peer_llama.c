// SPDX-License-Identifier: MIT
/*
 * Runs a model with llama.cpp over the very token sequence that
 * `penstock bench` uses, and prints what that prints, in the same JSON keys.
 * The benchmarks compile it against a llama.cpp outside of this tree;
 * nothing of penstock is linked, the generator of the tokens is repeated here.
 *
 *	peer_llama MODEL THREADS PROMPT_TOKENS GEN_TOKENS BATCH mmap|read \
 *		   [repack]
 */
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include <llama.h>

struct run {
	struct llama_context *ctx;
	llama_token *ids;
	int32_t nr_prompt, nr_gen, nr_batch;
	double prompt_s, gen_s;
};

static double now_s(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec * 1e-9;
}

/* splitmix64 from seed 1, as in `penstock bench`. */
static uint64_t next_random(uint64_t *state)
{
	uint64_t z = (*state += 0x9e3779b97f4a7c15ULL);

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ULL;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebULL;
	return z ^ (z >> 31);
}

static void quiet(enum ggml_log_level level, const char *text, void *ctx)
{
	(void)ctx;
	if (level >= GGML_LOG_LEVEL_WARN)
		fputs(text, stderr);
}

/* The logits of the last token are asked for, so that all work is done. */
static int decode(struct run *r, int32_t first, int32_t nr)
{
	while (nr > 0) {
		int32_t n = nr < r->nr_batch ? nr : r->nr_batch;

		if (llama_decode(r->ctx,
				 llama_batch_get_one(r->ids + first, n)))
			return 1;
		first += n;
		nr -= n;
	}
	return !llama_get_logits_ith(r->ctx, -1);
}

static int measure(struct run *r)
{
	double start = now_s();

	if (r->nr_prompt && decode(r, 0, r->nr_prompt))
		return 1;
	r->prompt_s = now_s() - start;
	start = now_s();
	for (int32_t i = 0; i < r->nr_gen; i++)
		if (decode(r, r->nr_prompt + i, 1))
			return 1;
	r->gen_s = now_s() - start;
	return 0;
}

static double rate(int32_t nr, double seconds)
{
	return seconds > 0 ? nr / seconds : 0;
}

static void print_result(const struct run *r, double load_s)
{
	struct rusage use;

	getrusage(RUSAGE_SELF, &use);
	fprintf(stderr, "done\n");
	printf("{\"prefill_tokens\":%d,\"prefill_tok_s\":%.4f,"
	       "\"decode_tokens\":%d,\"decode_tok_s\":%.4f,"
	       "\"decode_s\":%.6f,\"load_s\":%.3f,\"peak_bytes\":%ld}\n",
	       r->nr_prompt, rate(r->nr_prompt, r->prompt_s), r->nr_gen,
	       rate(r->nr_gen, r->gen_s), r->gen_s, load_s,
	       use.ru_maxrss * 1024);
	fflush(stdout);
}

static struct llama_context *get_context(struct llama_model *model,
					 const struct run *r, int threads)
{
	struct llama_context_params p = llama_context_default_params();

	p.n_ctx = (uint32_t)(r->nr_prompt + r->nr_gen);
	p.n_batch = (uint32_t)r->nr_batch;
	p.n_ubatch = (uint32_t)r->nr_batch;
	p.n_threads = threads;
	p.n_threads_batch = threads;
	return llama_init_from_model(model, p);
}

int main(int argc, char **argv)
{
	struct llama_model_params mp = llama_model_default_params();
	struct run r = { 0 };
	struct llama_model *model;
	uint64_t rng = 1;
	double start, load_s;
	uint32_t nr_vocab;
	int32_t i;

	if (argc < 7)
		return 2;
	r.nr_prompt = atoi(argv[3]);
	r.nr_gen = atoi(argv[4]);
	r.nr_batch = atoi(argv[5]);
	llama_log_set(quiet, NULL);
	llama_backend_init();
	mp.load_mode = strcmp(argv[6], "mmap") ? LLAMA_LOAD_MODE_NONE
					       : LLAMA_LOAD_MODE_MMAP;
	mp.use_extra_bufts = argc > 7 && !strcmp(argv[7], "repack");
	start = now_s();
	model = llama_model_load_from_file(argv[1], mp);
	if (!model)
		return 1;
	load_s = now_s() - start;
	r.ctx = get_context(model, &r, atoi(argv[2]));
	r.ids = calloc((size_t)(r.nr_prompt + r.nr_gen), sizeof(*r.ids));
	if (!r.ctx || !r.ids)
		return 1;
	nr_vocab = (uint32_t)llama_vocab_n_tokens(llama_model_get_vocab(model));
	for (i = 0; i < r.nr_prompt + r.nr_gen; i++)
		r.ids[i] = (llama_token)(next_random(&rng) % nr_vocab);
	if (measure(&r))
		return 1;
	print_result(&r, load_s);
	/* What is left would only delay the measuring script. */
	_exit(0);
}

// SPDX-License-Identifier: MIT
/*
 * The families that a tiny model can be of, and what those of the plainest
 * blocks have besides; the others' tensors are in tiny_model.c.
 */
#include <string.h>

#include "tiny_model.h"

const struct tm_family tm_families[] = {
	{ "llama", false },	    { "llama", true },
	{ "qwen2", false },	    { "qwen3", false },
	{ "qwen3moe", true },	    { "olmoe", true },
	{ "gpt-oss", true },	    { "qwen2moe", true },
	{ "glm4moe", true },	    { "minimax-m2", true },
	{ "granite", false },	    { "granitemoe", true },
	{ "ernie4_5-moe", true },   { "hunyuan-moe", true },
	{ "dots1", true },	    { "bailingmoe2", true },
	{ "mistral3", false },	    { "phi3", false },
	{ "phimoe", true },	    { "llama4", true },
	{ "gemma3", false },	    { "gemma4", false },
	{ "gemma4", true },	    { "deepseek2", true },
	{ "deepseek32", true },	    { "glm-dsa", true },
	{ "minimax-m3", true },	    { "qwen3next", true },
	{ "qwen35", false },	    { "qwen35moe", true },
	{ "kimi-linear", true },    { "kimi-k3", true },
	{ "deepseek4", true },	    { "bert", false },
	{ "smollm3", false },	    { "ernie4_5", false },
	{ "hunyuan-dense", false },
};

const size_t tm_nr_families = PST_ARRAY_SIZE(tm_families);

static const struct tm_plain plain[] = {
	{ "qwen2", .biases = true },
	{ "gpt-oss", .biases = true },
	{ "hunyuan-moe", .head_norms = true },
	{ "hunyuan-dense", .head_norms = true },
	{ "olmoe", .wide_norms = true },
	{ "qwen2moe", .biases = true, .shared = true },
	{ "glm4moe", .biases = true, .shared = true, .choice = true },
	{ "minimax-m2", .wide_norms = true, .choice = true },
	{ "ernie4_5-moe", .shared = true },
	{ "dots1", .head_norms = true, .shared = true },
	{ "bailingmoe2", .head_norms = true, .shared = true },
	{ "granitemoe", .shared = true },
};

static bool is(const struct tiny_model *m, const char *arch)
{
	return !strcmp(m->arch, arch);
}

struct tm_plain tm_plain_of(const struct tiny_model *m)
{
	for (size_t i = 0; i < PST_ARRAY_SIZE(plain); i++)
		if (is(m, plain[i].arch))
			return plain[i];
	return (struct tm_plain){ 0 };
}

void tm_plain_keys(struct tiny_model *m)
{
	if (tm_plain_of(m).shared)
		tm_u32(m, "expert_shared_feed_forward_length", TM_FF_EXP);
	if (!strncmp(m->arch, "granite", 7)) {
		tm_f32(m, "logit_scale", 3.0f);
		tm_f32(m, "residual_scale", 0.5f);
	}
	if (is(m, "bailingmoe2")) {
		tm_u32(m, "expert_group_count", 4);
		tm_u32(m, "expert_group_used_count", 2);
	}
	if (is(m, "glm4moe") || is(m, "minimax-m2") || is(m, "bailingmoe2"))
		tm_u32(m, "rope.dimension_count", TM_HD / 2);
	if (is(m, "ernie4_5")) /* else it is Llama */
		tm_f32(m, "rope.freq_base", 5e5f);
	if (is(m, "mistral3")) {
		tm_f32(m, "attention.temperature_scale", 0.3f);
		tm_u32(m, "attention.temperature_length", 4);
	}
}

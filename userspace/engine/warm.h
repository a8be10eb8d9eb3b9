/* SPDX-License-Identifier: MIT */
/*
 * warm: which experts the last run of a model held, and how often they were
 * wanted, as bytes in a file.
 *
 * The file is untrusted: one that is damaged or of another model is refused as
 * a whole.  Where it lies and what is done with it is not known here.
 */
#ifndef PST_WARM_H
#define PST_WARM_H

#include "base.h"

#define PST_WARM_POLICY_MAX 16

/**
 * struct pst_warm_id - the model that it is about
 * @hash: of the headers of its files
 * @model_bytes: their sizes together
 * @nr_layers, @nr_experts: key = layer * nr_experts + expert
 */
struct pst_warm_id {
	uint64_t hash;
	uint64_t model_bytes;
	uint32_t nr_layers;
	uint32_t nr_experts;
};

/**
 * struct pst_warm_entry - one expert
 * @worth: in the policy's own measure, not negative
 */
struct pst_warm_entry {
	uint32_t key;
	float worth;
};

/**
 * struct pst_warm_set - what is kept
 * @entries: [nr] the ones to be had first in front
 * @policy: in whose measure the worths are
 */
struct pst_warm_set {
	struct pst_warm_entry *entries;
	uint32_t nr;
	char policy[PST_WARM_POLICY_MAX];
};

/** pst_warm_hash() - continue a hash over bytes; not against an adversary */
uint64_t pst_warm_hash(uint64_t hash, const uint8_t *bytes,
		       uint64_t size_bytes);

/** pst_warm_bytes() - of a file with @nr entries */
uint64_t pst_warm_bytes(uint64_t nr);

/**
 * pst_warm_order() - put those in front that are to be had first
 * @resident: [nr_layers * nr_experts] they come before all others
 *
 * Then by worth, and where that is equal in an order that favours no layer.
 *
 * Return: 0, -ENOMEM: the order is then as it was.
 */
int pst_warm_order(struct pst_warm_set *set, const bool *resident);

/** pst_warm_format() - @out: [pst_warm_bytes(set->nr)] */
void pst_warm_format(const struct pst_warm_id *id,
		     const struct pst_warm_set *set, uint8_t *out);

/**
 * pst_warm_parse() - read a file back
 * @id: the model at hand
 * @out: @entries is the caller's, free(); untouched on failure
 *
 * Every key is below nr_layers * nr_experts and there once, every worth is a
 * finite number of 0 or more.
 *
 * Return: 0; -EBADMSG when it is damaged; -ESTALE when it is of another model;
 * -ENOMEM.
 */
int pst_warm_parse(const struct pst_warm_id *id, const uint8_t *bytes,
		   uint64_t size_bytes, struct pst_warm_set *out);

#endif

// SPDX-License-Identifier: MIT
/*
 * The table of eviction policies.  The first row is the default.
 */
#include <string.h>

#include "policy.h"

static const struct pst_policy_ops *const policies[] = {
	&pst_policy_adaptive, &pst_policy_cycle,  &pst_policy_lru,
	&pst_policy_lfu,      &pst_policy_s3fifo,
};

const struct pst_policy_ops *pst_policy_find(const char *name)
{
	if (!strcmp(name, "default"))
		return policies[0];
	for (uint32_t i = 0; i < PST_ARRAY_SIZE(policies); i++)
		if (!strcmp(policies[i]->name, name))
			return policies[i];
	return NULL;
}

const char *pst_policy_name(uint32_t i)
{
	return i < PST_ARRAY_SIZE(policies) ? policies[i]->name : NULL;
}

// SPDX-License-Identifier: Apache-2.0

package jsonl

import _ "embed"

// Schema is the JSON Schema, draft 2020-12, of the records.
//
//go:embed schema.json
var Schema string

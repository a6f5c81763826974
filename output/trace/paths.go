// SPDX-License-Identifier: Apache-2.0

package trace

// Paths names the files of the recording, in their order.
func (s *Source) Paths() []string {
	paths := make([]string, 0, len(s.parts))
	for _, in := range s.parts {
		paths = append(paths, in.path)
	}
	return paths
}

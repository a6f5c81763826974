// SPDX-License-Identifier: Apache-2.0

package event

// PortRange is a range of ports, both ends included; the zero value is every port.
type PortRange struct{ First, Last uint16 }

// Contains reports whether port is in the range.
func (r PortRange) Contains(port uint16) bool {
	return r == PortRange{} || port >= r.First && port <= r.Last
}

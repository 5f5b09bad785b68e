package varlink

import (
	"context"
	"maps"
	"slices"
)

// Methods of org.varlink.service, which every server has.
const (
	GetInfo                 = "org.varlink.service.GetInfo"
	GetInterfaceDescription = "org.varlink.service.GetInterfaceDescription"
)

// Info is what a server says about itself in answer to GetInfo.
type Info struct {
	Vendor     string   `json:"vendor"`
	Product    string   `json:"product"`
	Version    string   `json:"version"`
	URL        string   `json:"url"`
	Interfaces []string `json:"interfaces"`
}

// Description is the answer to GetInterfaceDescription.
type Description struct {
	Description string `json:"description"`
}

const serviceInterface = "org.varlink.service"

const serviceDescription = `# What a service is and can do.
interface org.varlink.service

method GetInfo() -> (
  vendor: string,
  product: string,
  version: string,
  url: string,
  interfaces: []string
)

method GetInterfaceDescription(interface: string) -> (description: string)

error InterfaceNotFound (interface: string)
error MethodNotFound (method: string)
error MethodNotImplemented (method: string)
error InvalidParameter (parameter: string)
error PermissionDenied ()
error ExpectedMore ()
`

// Describe adds the methods of org.varlink.service to m: info, whose
// Interfaces are filled in, and the descriptions, by interface name.
func (m Methods) Describe(info Info, descriptions map[string]string) {
	all := maps.Clone(descriptions)
	if all == nil {
		all = make(map[string]string)
	}
	all[serviceInterface] = serviceDescription
	info.Interfaces = slices.Sorted(maps.Keys(all))

	m[GetInfo] = func(_ context.Context, c *Call) (any, error) {
		return info, c.Decode(&struct{}{})
	}
	m[GetInterfaceDescription] = func(_ context.Context, c *Call) (any, error) {
		var in struct {
			Interface string `json:"interface"`
		}
		if err := c.Decode(&in); err != nil {
			return nil, err
		}
		text, known := all[in.Interface]
		if !known {
			// The name is not sent back: it may be any text.
			return nil, &Error{Name: InterfaceNotFound}
		}
		return Description{text}, nil
	}
}

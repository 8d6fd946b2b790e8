// Program benthos is the stream processor that bench issue compares with: Benthos 4
// with what reading, writing and one SQL statement need. make bin/benthos builds it.
package main

import (
	"context"

	"github.com/benthosdev/benthos/v4/public/service"

	_ "github.com/benthosdev/benthos/v4/public/components/io"
	_ "github.com/benthosdev/benthos/v4/public/components/kafka"
	_ "github.com/benthosdev/benthos/v4/public/components/pure"
	_ "github.com/benthosdev/benthos/v4/public/components/sql"
)

func main() { service.RunCLI(context.Background()) }

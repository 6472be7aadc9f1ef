package main

import (
	"bytes"
	"context"
	"encoding/json"

	"github.com/spf13/cobra"

	"github.com/cleat-project/cleat/engine"
)

type manifestInspector interface {
	RemoteManifest(ctx context.Context, name string, opt engine.RemoteManifestOptions) (engine.RemoteManifest, error)
}

func newManifestInspect(c *cli) *cobra.Command {
	var opt engine.RemoteManifestOptions
	cmd := &cobra.Command{
		Use: "inspect [OPTIONS] MANIFEST", Short: "Display an image manifest, or manifest list, as its registry has it",
		Args: exactly(1), ValidArgsFunction: cobra.NoFileCompletions,
	}
	cmd.Flags().BoolVar(&opt.Insecure, "insecure", false, "Allow communication with an insecure registry")
	cmd.Flags().BoolVarP(&opt.Parts, "verbose", "v", false, "Output additional info including layers and platform")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		eng, err := c.engine()
		if err != nil {
			return err
		}
		return c.inspectManifest(cmd.Context(), eng, args[0], opt)
	}
	return cmd
}

// inspectManifest prints the document of the registry, only indented; or with
// all details one object, or a list of them for an index.
func (c *cli) inspectManifest(ctx context.Context, eng manifestInspector, name string, opt engine.RemoteManifestOptions) error {
	m, err := eng.RemoteManifest(ctx, name, opt)
	if err != nil {
		return err
	}
	data := m.Raw
	if opt.Parts {
		ref, err := engine.ParseReference(name)
		if err != nil {
			return err
		}
		if data, err = json.Marshal(detailedManifest(ref, m)); err != nil {
			return err
		}
	}
	var out bytes.Buffer
	if err := json.Indent(&out, bytes.TrimSpace(data), "", "\t"); err != nil {
		return err
	}
	out.WriteByte('\n')
	_, err = c.out.Write(out.Bytes())
	return err
}

// manifestRow is a manifest as "docker manifest inspect --verbose" shows it.
type manifestRow struct {
	Ref              string
	Descriptor       any
	Raw              []byte
	SchemaV2Manifest json.RawMessage `json:",omitempty"`
	OCIManifest      json.RawMessage `json:",omitempty"`
}

func detailedManifest(ref engine.Reference, m engine.RemoteManifest) any {
	if !m.Manifest.IsIndex() {
		return newManifestRow(ref.String(), m)
	}
	rows := make([]manifestRow, 0, len(m.Parts))
	for _, part := range m.Parts {
		name := ref.Repository()
		if ref.Tag() != "" {
			name += ":" + ref.Tag()
		}
		rows = append(rows, newManifestRow(name+"@"+string(part.Descriptor.Digest), part))
	}
	return rows
}

func newManifestRow(name string, m engine.RemoteManifest) manifestRow {
	row := manifestRow{Ref: name, Descriptor: m.Descriptor, Raw: m.Raw}
	if engine.IsDockerManifest(m) {
		row.SchemaV2Manifest = m.Raw
	} else {
		row.OCIManifest = m.Raw
	}
	return row
}

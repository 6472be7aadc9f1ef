package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"slices"
	"strconv"
	"time"

	"github.com/docker/go-units"
	"github.com/spf13/cobra"

	"github.com/cleat-project/cleat/cmd/cleat/internal/format"
	"github.com/cleat-project/cleat/engine"
)

type diskMeter interface {
	DiskUsage(ctx context.Context) (*engine.DiskUsage, error)
}

func newDf(c *cli) *cobra.Command {
	var layout string
	var verbose bool
	cmd := &cobra.Command{
		Use: "df [OPTIONS]", Short: "Show disk usage",
		Args: exactly(0), ValidArgsFunction: cobra.NoFileCompletions,
	}
	cmd.Flags().StringVar(&layout, "format", "", formatUsage)
	cmd.Flags().BoolVarP(&verbose, "verbose", "v", false, "Show detailed information on space usage")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		eng, err := c.engine()
		if err != nil {
			return err
		}
		usage, err := diskMeter(eng).DiskUsage(cmd.Context())
		if err != nil {
			return err
		}
		if verbose {
			return c.dfVerbose(usage, layout, time.Now())
		}
		return dfList.Print(c.out, layout, false, dfRows(usage))
	}
	return cmd
}

// dfRow is a kind of object as system df shows it. The names are those of
// Docker's templates and JSON.
type dfRow struct{ Active, Reclaimable, Size, TotalCount, Type string }

var dfList = format.List[dfRow]{
	Columns: []format.Column[dfRow]{
		{Header: "TYPE", Cell: func(r dfRow) string { return r.Type }},
		{Header: "TOTAL", Cell: func(r dfRow) string { return r.TotalCount }},
		{Header: "ACTIVE", Cell: func(r dfRow) string { return r.Active }},
		{Header: "SIZE", Cell: func(r dfRow) string { return r.Size }},
		{Header: "RECLAIMABLE", Cell: func(r dfRow) string { return r.Reclaimable }},
	},
	Headers: dfRow{Active: "ACTIVE", Reclaimable: "RECLAIMABLE", Size: "SIZE", TotalCount: "TOTAL", Type: "TYPE"},
}

// dfRows adds up. What an image shares with others does not come free with it
// alone, and counts as used if the image is, as in Docker.
func dfRows(u *engine.DiskUsage) []dfRow {
	images := dfSum{name: "Images", bytes: u.LayersBytes, free: u.LayersBytes}
	for _, img := range u.Images {
		images.count(img.Containers > 0)
		if img.Containers > 0 {
			images.free -= img.SizeBytes - img.SharedBytes
		}
	}
	containers := dfSum{name: "Containers"}
	for _, ct := range u.Containers {
		containers.add(ct.WritableBytes, isRunning(ct.Container) || isPaused(ct.Container) || ct.Status == engine.StatusRestarting)
	}
	volumes := dfSum{name: "Local Volumes"}
	for _, v := range u.Volumes {
		volumes.add(v.Bytes, len(v.Users) > 0)
	}
	cache := dfSum{name: "Build Cache", plain: true}
	for _, b := range u.BuildCache {
		cache.add(b.Bytes, b.InUse)
	}
	return []dfRow{images.row(), containers.row(), volumes.row(), cache.row()}
}

// dfSum adds up one kind of object.
type dfSum struct {
	name          string
	total, active int
	bytes, free   int64
	plain         bool // without a percentage
}

func (s *dfSum) count(active bool) {
	s.total++
	if active {
		s.active++
	}
}

func (s *dfSum) add(bytes int64, active bool) {
	s.count(active)
	s.bytes += bytes
	if !active {
		s.free += bytes
	}
}

func (s *dfSum) row() dfRow {
	free := units.HumanSize(float64(s.free))
	if s.bytes > 0 && !s.plain {
		free += fmt.Sprintf(" (%d%%)", s.free*100/s.bytes)
	}
	return dfRow{Active: strconv.Itoa(s.active), Reclaimable: free, Size: units.HumanSize(float64(s.bytes)), TotalCount: strconv.Itoa(s.total), Type: s.name}
}

// dfDetails is what system df -v shows, for templates.
type dfDetails struct {
	Images     []imageRow
	Containers []psRow
	Volumes    []volumeRow
	BuildCache []cacheRow
}

// cacheRow is an entry of the build cache.
type cacheRow struct{ CacheType, CreatedSince, Description, ID, InUse, LastUsedSince, Shared, Size, UsageCount string }

func newDfDetails(u *engine.DiskUsage, now time.Time) dfDetails {
	d := dfDetails{Images: []imageRow{}, Containers: []psRow{}, Volumes: []volumeRow{}, BuildCache: []cacheRow{}}
	for _, img := range u.Images {
		for _, r := range imageRows(img.Image, &imagesFlags{}, now, func(engine.Image, engine.Reference) bool { return true }) {
			r.Containers, r.SharedSize = strconv.Itoa(img.Containers), units.HumanSize(float64(img.SharedBytes))
			r.UniqueSize = units.HumanSize(float64(img.SizeBytes - img.SharedBytes))
			d.Images = append(d.Images, r)
		}
	}
	for _, ct := range u.Containers {
		r := newPsRow(ct.Container, now, false)
		r.Size = format.Size(ct.WritableBytes)
		d.Containers = append(d.Containers, r)
	}
	for _, v := range u.Volumes {
		r := newVolumeRow(v.Volume)
		r.Links, r.Size = strconv.Itoa(len(v.Users)), format.Size(v.Bytes)
		d.Volumes = append(d.Volumes, r)
	}
	slices.SortFunc(d.Volumes, func(a, b volumeRow) int { return natural(a.Name, b.Name) })
	for _, b := range u.BuildCache {
		d.BuildCache = append(d.BuildCache, cacheRow{ID: b.ID, Size: format.Size(b.Bytes), InUse: strconv.FormatBool(b.InUse), Shared: strconv.FormatBool(b.Shared)})
	}
	return d
}

func (c *cli) dfVerbose(u *engine.DiskUsage, layout string, now time.Time) error {
	d := newDfDetails(u, now)
	if layout != "" && layout != "table" {
		return format.Objects(c.out, layout, []any{d})
	}
	var out bytes.Buffer
	var cache int64
	for _, b := range u.BuildCache {
		cache += b.Bytes
	}
	err := writeTables(&out, []dfTable{
		{"Images space usage:", dfImages(d.Images)},
		{"Containers space usage:", dfContainers(d.Containers)},
		{"Local Volumes space usage:", dfVolumes(d.Volumes)},
		{"Build cache usage: " + units.HumanSize(float64(cache)), dfCache(d.BuildCache)},
	})
	if err != nil {
		return err
	}
	_, err = c.out.Write(out.Bytes())
	return err
}

// dfTable is a part of what system df -v prints.
type dfTable struct {
	title string
	lines [][]string
}

func writeTables(w io.Writer, tables []dfTable) error {
	for i, t := range tables {
		if i > 0 {
			fmt.Fprintln(w)
		}
		fmt.Fprintf(w, "%s\n\n", t.title)
		if err := format.Table(w, t.lines); err != nil {
			return err
		}
	}
	return nil
}

func dfImages(rows []imageRow) [][]string {
	t := [][]string{{"REPOSITORY", "TAG", "IMAGE ID", "CREATED", "SIZE", "SHARED SIZE", "UNIQUE SIZE", "CONTAINERS"}}
	for _, r := range rows {
		t = append(t, []string{r.Repository, r.Tag, r.ID, r.CreatedSince, r.Size, r.SharedSize, r.UniqueSize, r.Containers})
	}
	return t
}

func dfContainers(rows []psRow) [][]string {
	t := [][]string{{"CONTAINER ID", "IMAGE", "COMMAND", "LOCAL VOLUMES", "SIZE", "CREATED", "STATUS", "NAMES"}}
	for _, r := range rows {
		t = append(t, []string{r.ID, r.Image, r.Command, r.LocalVolumes, r.Size, r.RunningFor, r.Status, r.Names})
	}
	return t
}

func dfVolumes(rows []volumeRow) [][]string {
	t := [][]string{{"VOLUME NAME", "LINKS", "SIZE"}}
	for _, r := range rows {
		t = append(t, []string{r.Name, r.Links, r.Size})
	}
	return t
}

func dfCache(rows []cacheRow) [][]string {
	t := [][]string{{"CACHE ID", "CACHE TYPE", "SIZE", "CREATED", "LAST USED", "USAGE", "SHARED"}}
	for _, r := range rows {
		t = append(t, []string{r.ID, r.CacheType, r.Size, r.CreatedSince, r.LastUsedSince, r.UsageCount, r.Shared})
	}
	return t
}

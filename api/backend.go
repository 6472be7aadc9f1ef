package api

import (
	"context"
	"io"
	"iter"

	"github.com/cleat-project/cleat/engine"
)

// backend is what the API needs of the engine, by kind of object.
type backend interface {
	systemBackend
	containerBackend
	lifecycleBackend
	streamBackend
	fileBackend
	execBackend
	imageBackend
	transferBackend
	networkBackend
	volumeBackend
}

type systemBackend interface {
	Info(ctx context.Context) (*engine.Info, error)
	DiskUsage(ctx context.Context) (*engine.DiskUsage, error)
	Events(ctx context.Context, opt engine.EventOptions) iter.Seq2[engine.Event, error]
	CheckLogin(ctx context.Context, c engine.Credentials) error
}

type containerBackend interface {
	Create(ctx context.Context, opt engine.CreateOptions) (engine.Container, error)
	Get(ctx context.Context, ref string) (engine.Container, error)
	List(ctx context.Context) ([]engine.Container, error)
	Summarize(ctx context.Context, list []engine.Container) ([]engine.Summary, error)
	Sizes(ctx context.Context, list []engine.Container) ([]engine.ContainerSize, error)
	Inspect(ctx context.Context, ref string, opt engine.InspectOptions) (*engine.ContainerInspect, error)
	Update(ctx context.Context, ref string, opt engine.UpdateOptions) error
	Rename(ctx context.Context, ref, name string) error
	Remove(ctx context.Context, ref string, opt engine.RemoveOptions) error
	PruneContainers(ctx context.Context, f engine.PruneFilter) (engine.Pruned, error)
	Commit(ctx context.Context, ref string, opt engine.CommitOptions) (engine.Image, error)
}

type lifecycleBackend interface {
	Start(ctx context.Context, ref string) error
	Stop(ctx context.Context, ref string, opt engine.StopOptions) error
	Restart(ctx context.Context, ref string, opt engine.StopOptions) error
	Kill(ctx context.Context, ref, name string) error
	Pause(ctx context.Context, ref string) error
	Unpause(ctx context.Context, ref string) error
	BeginWait(ctx context.Context, ref string, cond engine.WaitCondition) (*engine.Waiting, error)
}

type streamBackend interface {
	logReader
	Attach(ctx context.Context, ref string, opt engine.AttachOptions) (*engine.Session, error)
	ResizeTTY(ctx context.Context, ref string, height, width uint16) error
	Top(ctx context.Context, ref string, psArgs []string) (engine.ProcessTable, error)
	Stats(ctx context.Context, refs []string, opt engine.StatsOptions) iter.Seq2[[]engine.Stats, error]
}

type logReader interface {
	Logs(ctx context.Context, ref string, opt engine.LogOptions) iter.Seq2[engine.LogLine, error]
}

type fileBackend interface {
	Changes(ctx context.Context, ref string) ([]engine.Change, error)
	Export(ctx context.Context, ref string, w io.Writer) error
	StatPath(ctx context.Context, ref, name string) (engine.PathStat, error)
	CopyFrom(ctx context.Context, ref, name string, opt engine.CopyFromOptions) (io.ReadCloser, engine.PathStat, error)
	CopyTo(ctx context.Context, ref, name string, r io.Reader, opt engine.CopyToOptions) error
}

type execBackend interface {
	ExecCreate(ctx context.Context, ref string, r engine.ExecRecord) (string, error)
	ExecStart(ctx context.Context, id string, opt engine.ExecStartOptions) (*engine.Exec, error)
	ExecInspect(ctx context.Context, id string) (engine.ExecRecord, error)
}

type imageBackend interface {
	Image(ctx context.Context, ref string) (engine.Image, error)
	ImageUsage(ctx context.Context) ([]engine.ImageUsage, error)
	InspectImage(ctx context.Context, ref string) (*engine.ImageInspect, error)
	History(ctx context.Context, ref string) ([]engine.ImageLayer, error)
	Tag(ctx context.Context, source, target string) error
	RemoveImage(ctx context.Context, ref string, opt engine.RemoveImageOptions) ([]engine.RemovedImage, error)
	PruneImages(ctx context.Context, opt engine.PruneImagesOptions) (engine.Pruned, error)
	PruneBuilds(ctx context.Context, opt engine.PruneBuildsOptions) (engine.Pruned, error)
}

type transferBackend interface {
	Pull(ctx context.Context, ref string, opt engine.PullOptions) (engine.Image, error)
	Push(ctx context.Context, name string, opt engine.PushOptions) error
	Search(ctx context.Context, term string, opt engine.SearchOptions) ([]engine.SearchResult, error)
	RemoteTags(ctx context.Context, repository string) ([]engine.Reference, error)
	RemoteManifest(ctx context.Context, name string, opt engine.RemoteManifestOptions) (engine.RemoteManifest, error)
	Save(ctx context.Context, w io.Writer, names []string, opt engine.SaveOptions) error
	Load(ctx context.Context, r io.Reader, opt engine.LoadOptions) ([]engine.LoadedImage, error)
	Import(ctx context.Context, r io.Reader, opt engine.ImportOptions) (engine.Image, error)
	Fetch(ctx context.Context, address string) (io.ReadCloser, error)
}

type networkBackend interface {
	Networks(ctx context.Context, filters map[string][]string) ([]engine.NetworkInspect, error)
	NetworkInspect(ctx context.Context, ref string) (*engine.NetworkInspect, error)
	NetworkCreate(ctx context.Context, opt engine.NetworkCreateOptions) (id string, warnings []string, err error)
	NetworkConnect(ctx context.Context, network, container string, r engine.NetworkRequest) error
	NetworkDisconnect(ctx context.Context, network, container string, opt engine.NetworkDisconnectOptions) error
	NetworkRemove(ctx context.Context, ref string) error
	PruneNetworks(ctx context.Context, f engine.PruneFilter) (engine.Pruned, error)
}

type volumeBackend interface {
	Volumes(ctx context.Context, f engine.VolumeFilter) ([]engine.Volume, error)
	InspectVolume(ctx context.Context, name string) (*engine.VolumeInspect, error)
	CreateVolume(ctx context.Context, opt engine.CreateVolumeOptions) (string, error)
	RemoveVolume(ctx context.Context, name string, opt engine.RemoveVolumeOptions) error
	PruneVolumes(ctx context.Context, opt engine.PruneVolumesOptions) (engine.Pruned, error)
}

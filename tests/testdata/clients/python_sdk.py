"""Drives the Engine API with Python's docker SDK as the distribution has it.

DOCKER_HOST names the socket, where the image busybox is; REGISTRY is the address
of an empty registry. Nothing is left behind.
"""

import io
import os
import socket
import tarfile
import threading
import time
import unittest

import docker
from docker import errors
from docker.types import EndpointConfig, IPAMConfig, IPAMPool, LogConfig, Mount, Ulimit
from docker.utils.socket import frames_iter

ECHO = "while read l; do echo got $l; [ $l = end ] && exit 5; done"


def archive(files):
    """Returns a tar archive of names and contents."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as t:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size, info.mtime = len(data), 1500000000
            t.addfile(info, io.BytesIO(data))
    return out.getvalue()


def unpack(chunks):
    return tarfile.open(fileobj=io.BytesIO(b"".join(chunks)))


class Base(unittest.TestCase):
    def setUp(self):
        self.d = docker.from_env(timeout=60)
        self.api = self.d.api
        self.addCleanup(self.d.close)

    def start(self, command="sleep 1000", **args):
        args.setdefault("network_mode", "none")
        c = self.d.containers.run("busybox", command, detach=True, **args)
        self.addCleanup(self.gone, c)
        return c

    def create(self, command="sleep 1000", **args):
        args.setdefault("network_mode", "none")
        c = self.d.containers.create("busybox", command, **args)
        self.addCleanup(self.gone, c)
        return c

    def gone(self, c):
        try:
            c.remove(force=True, v=True)
        except errors.NotFound:
            pass

    def fails(self, status, part, f, *args, **kw):
        kind = errors.NotFound if status == 404 else errors.APIError
        with self.assertRaises(kind) as caught:
            f(*args, **kw)
        self.assertEqual(caught.exception.status_code, status, caught.exception)
        self.assertIn(part, str(caught.exception))


class Containers(Base):
    def test_run_returns_the_output(self):
        self.assertEqual(self.d.containers.run("busybox", "echo hello", network_mode="none", remove=True), b"hello\n")
        both = self.d.containers.run("busybox", ["sh", "-c", "echo out; echo err >&2"], network_mode="none", remove=True, stderr=True)
        self.assertEqual(sorted(both.splitlines()), [b"err", b"out"])
        lines = self.d.containers.run("busybox", "seq 3", network_mode="none", remove=True, stream=True)
        self.assertEqual(b"".join(lines), b"1\n2\n3\n")

    def test_run_fails(self):
        with self.assertRaises(errors.ContainerError) as caught:
            self.d.containers.run("busybox", ["sh", "-c", "echo bad >&2; exit 3"], network_mode="none", remove=True)
        self.assertEqual((caught.exception.exit_status, caught.exception.stderr), (3, b"bad\n"))
        with self.assertRaises(errors.ImageNotFound):
            self.d.containers.create("nosuch/image:1")
        self.fails(400, "executable file not found", self.d.containers.run, "busybox", "nosuch", network_mode="none", remove=True)
        self.d.containers.prune()  # what could not start is kept, as in Docker

    def test_options_arrive(self):
        self.addCleanup(lambda: self.d.volumes.get("py-data").remove())
        c = self.start(
            "sleep 1000", name="py-options", environment={"A": "1"}, labels={"tier": "py"}, hostname="host1", domainname="dom",
            working_dir="/tmp", user="1000:1000", mem_limit="64m", cpu_shares=512, nano_cpus=500000000, pids_limit=50,
            cap_drop=["ALL"], cap_add=["CHOWN"], read_only=True, tmpfs={"/scratch": "size=1m,mode=1777"}, shm_size="8m",
            ulimits=[Ulimit(name="nofile", soft=100, hard=200)], sysctls={"net.ipv4.ip_unprivileged_port_start": "80"},
            security_opt=["no-new-privileges"], init=True, restart_policy={"Name": "on-failure", "MaximumRetryCount": 3},
            stop_signal="SIGINT", extra_hosts={"far": "192.0.2.1"}, log_config=LogConfig(type="journald"), oom_score_adj=100,
            mounts=[Mount("/data", "py-data"), Mount("/bound", "/etc", type="bind", read_only=True)],
            healthcheck={"test": ["CMD", "true"], "interval": 1000000000, "retries": 2},
        )
        c.reload()
        cfg, host = c.attrs["Config"], c.attrs["HostConfig"]
        self.assertEqual(cfg["Labels"]["tier"], "py")
        self.assertEqual((cfg["Hostname"], cfg["Domainname"], cfg["WorkingDir"], cfg["User"]), ("host1", "dom", "/tmp", "1000:1000"))
        self.assertIn("A=1", cfg["Env"])
        self.assertEqual(cfg["StopSignal"], "SIGINT")
        self.assertEqual((host["Memory"], host["CpuShares"], host["NanoCpus"], host["PidsLimit"]), (64 << 20, 512, 500000000, 50))
        self.assertEqual(host["RestartPolicy"], {"Name": "on-failure", "MaximumRetryCount": 3})
        self.assertEqual((host["ReadonlyRootfs"], host["Init"], host["ShmSize"], host["OomScoreAdj"]), (True, True, 8 << 20, 100))
        self.assertEqual(host["Ulimits"], [{"Name": "nofile", "Soft": 100, "Hard": 200}])
        self.assertEqual(sorted(m["Destination"] for m in c.attrs["Mounts"]), ["/bound", "/data"])
        _, out = c.exec_run(["sh", "-c", "hostname; id -u; ulimit -n; pwd; stat -c %a /scratch; touch /x 2>/dev/null || echo ro; grep far /etc/hosts"])
        words = out.decode().split("\n")
        self.assertEqual(words[:5], ["host1", "1000", "100", "/tmp", "1777"])
        self.assertIn("192.0.2.1\tfar", words)
        self.assertIn("ro", words)

    def test_life(self):
        c = self.create(["sh", "-c", "trap 'exit 7' USR1; sleep 1000 & while :; do wait; done"], name="py-life")
        self.assertEqual(c.status, "created")
        c.start()
        c.reload()
        self.assertEqual((c.status, c.name), ("running", "py-life"))
        self.assertEqual([x.id for x in self.d.containers.list(filters={"name": "py-life"})], [c.id])
        c.pause()
        c.reload()
        self.assertEqual(c.status, "paused")
        c.unpause()
        self.fails(409, "py-life", c.remove)
        self.fails(409, "py-life", self.d.containers.create, "busybox", name="py-life")
        first = c.attrs["State"]["StartedAt"]
        c.restart(timeout=0)
        c.reload()
        self.assertNotEqual(c.attrs["State"]["StartedAt"], first)
        c.rename("py-renamed")
        self.assertEqual(self.d.containers.get("py-renamed").id, c.id)
        self.fails(404, "py-life", self.d.containers.get, "py-life")
        c.update(cpu_shares=256, mem_limit="128m", memswap_limit="256m", restart_policy={"Name": "no"})
        c.reload()
        self.assertEqual((c.attrs["HostConfig"]["CpuShares"], c.attrs["HostConfig"]["Memory"]), (256, 128 << 20))
        c.kill("SIGUSR1")
        self.assertEqual(c.wait()["StatusCode"], 7)
        self.fails(409, "not running", c.kill)
        c.start()
        c.stop(timeout=0)
        self.assertEqual(c.wait()["StatusCode"], 137)
        c.stop()  # no error when it has
        c.remove()
        self.fails(404, "No such container", c.reload)

    def test_wait_conditions(self):
        c = self.create("true")
        ended = []
        waiting = threading.Thread(target=lambda: ended.append(docker.from_env().containers.get(c.id).wait(condition="next-exit")))
        waiting.start()
        while not ended:
            c.start()
            waiting.join(0.5)
        waiting.join()
        self.assertEqual(ended[0]["StatusCode"], 0)
        with self.assertRaises(Exception) as caught:
            self.start().wait(timeout=1)
        self.assertIn("timed out", str(caught.exception).lower())

    def test_logs(self):
        c = self.start(["sh", "-c", "echo one; echo two >&2; echo three; read x; echo four"], stdin_open=True)
        deadline = time.time() + 60
        while c.logs().count(b"\n") < 3 and time.time() < deadline:
            time.sleep(0.02)
        self.assertEqual(c.logs(stderr=False), b"one\nthree\n")
        self.assertEqual(c.logs(stdout=False), b"two\n")
        self.assertEqual(c.logs(tail=0), b"")
        self.assertEqual(c.logs(tail=1).count(b"\n"), 1)
        stamp, line = c.logs(stderr=False, timestamps=True).splitlines(True)[-1].split(b" ", 1)
        self.assertRegex(stamp.decode(), r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z$")
        self.assertEqual(line, b"three\n")
        self.assertEqual(c.logs(since=int(time.time()) + 1000), b"")
        self.assertEqual(c.logs(until=int(time.time()) - 1000), b"")
        s = c.attach_socket(params={"stdin": 1, "stream": 1})
        s._sock.sendall(b"go\n")
        s.close()
        self.assertTrue(b"".join(c.logs(stream=True, follow=True)).endswith(b"four\n"))
        self.assertEqual(c.wait()["StatusCode"], 0)

    def test_logs_of_a_terminal(self):
        c = self.start(["sh", "-c", "echo one; tty"], tty=True)
        c.wait()
        self.assertEqual(c.logs(), b"one\r\n/dev/pts/0\r\n")

    def test_attach(self):
        c = self.create(["sh", "-c", ECHO], stdin_open=True)
        s = self.api.attach_socket(c.id, params={"stdin": 1, "stdout": 1, "stderr": 1, "stream": 1})
        c.start()
        s._sock.sendall(b"first\nend\n")
        got = b"".join(data for stream, data in frames_iter(s, tty=False) if stream == 1)
        s.close()
        self.assertEqual(got, b"got first\ngot end\n")
        self.assertEqual(c.wait()["StatusCode"], 5)
        self.assertEqual(c.attach(logs=True, stream=False), got)

    def test_attach_streams(self):
        c = self.start(["sh", "-c", "read x; echo out; echo err >&2"], stdin_open=True)
        stream = c.attach(stream=True, demux=True)
        s = c.attach_socket(params={"stdin": 1, "stream": 1})
        s._sock.sendall(b"\n")
        s.close()
        self.assertEqual(sorted(stream, key=str), [(None, b"err\n"), (b"out\n", None)])

    def test_attach_to_a_terminal(self):
        c = self.start("sh", tty=True, stdin_open=True)
        s = c.attach_socket(params={"stdin": 1, "stdout": 1, "stream": 1})
        c.resize(33, 77)
        s._sock.sendall(b"stty size; exit 4\n")
        data = b""
        while chunk := s._sock.recv(4096):
            data += chunk
        s.close()
        self.assertIn(b"33 77", data)
        self.assertEqual(c.wait()["StatusCode"], 4)

    def test_exec(self):
        c = self.start()
        code, out = c.exec_run(["sh", "-c", "echo $A; pwd; id -u; exit 3"], environment=["A=b"], workdir="/tmp", user="1000")
        self.assertEqual((code, out), (3, b"b\n/tmp\n1000\n"))
        code, (out, err) = c.exec_run(["sh", "-c", "echo o; echo e >&2"], demux=True)
        self.assertEqual((code, out, err), (0, b"o\n", b"e\n"))
        code, chunks = c.exec_run("seq 100", stream=True)
        self.assertEqual((code, b"".join(chunks).count(b"\n")), (None, 100))
        code, out = c.exec_run("tty", tty=True)
        self.assertEqual((code, out), (0, b"/dev/pts/0\r\n"))
        code, out = c.exec_run("nosuch")
        self.assertEqual(code, 127)
        self.assertIn(b"executable file not found", out)
        _, s = c.exec_run("cat", stdin=True, socket=True)
        s._sock.sendall(b"through\n")
        s._sock.shutdown(socket.SHUT_WR)
        self.assertEqual(b"".join(data for _, data in frames_iter(s, tty=False)), b"through\n")
        s.close()
        self.assertEqual(c.exec_run("touch /tmp/detached", detach=True).output, "")

    def test_low_level_exec(self):
        c = self.start()
        made = self.api.exec_create(c.id, ["sh", "-c", "sleep 0.2; exit 6"], stdin=False, tty=True)["Id"]
        before = self.api.exec_inspect(made)
        self.assertEqual((before["Running"], before["ExitCode"], before["ContainerID"]), (False, None, c.id))
        self.assertEqual(before["ProcessConfig"]["entrypoint"], "sh")
        self.api.exec_start(made, detach=True, tty=True)
        deadline = time.time() + 60
        while self.api.exec_inspect(made)["ExitCode"] != 6 and time.time() < deadline:
            time.sleep(0.02)
        self.assertEqual(self.api.exec_inspect(made)["ExitCode"], 6)
        self.fails(409, "", self.api.exec_start, made)
        self.fails(404, "", self.api.exec_inspect, "nosuch")
        c.stop(timeout=0)
        self.fails(409, "is not running", self.api.exec_create, c.id, "true")

    def test_stats(self):
        c = self.start("sh -c 'while :; do :; done'", name="py-stats")
        one = c.stats(stream=False)
        self.assertEqual((one["name"], one["id"]), ("/py-stats", c.id))
        self.assertGreater(one["cpu_stats"]["cpu_usage"]["total_usage"], one["precpu_stats"]["cpu_usage"]["total_usage"])
        self.assertGreater(one["cpu_stats"]["system_cpu_usage"], 0)
        self.assertGreaterEqual(one["pids_stats"]["current"], 1)
        stream = c.stats(stream=True, decode=True)
        samples = [next(stream), next(stream)]
        self.assertGreater(samples[1]["cpu_stats"]["cpu_usage"]["total_usage"], samples[0]["cpu_stats"]["cpu_usage"]["total_usage"])
        stream.close()
        c.stop(timeout=0)
        self.assertEqual(c.stats(stream=False)["pids_stats"], {})

    def test_archives(self):
        c = self.start()
        self.assertTrue(c.put_archive("/tmp", archive({"a": b"A" * 100000, "d/b": b"B"})))
        chunks, stat = c.get_archive("/tmp/a")
        self.assertEqual((stat["name"], stat["size"], stat["linkTarget"]), ("a", 100000, ""))
        self.assertEqual(unpack(chunks).extractfile("a").read(), b"A" * 100000)
        chunks, stat = c.get_archive("/tmp/d")
        self.assertTrue(stat["mode"] & 1 << 31)
        self.assertEqual(unpack(chunks).getnames(), ["d", "d/b"])
        self.fails(404, "nosuch", c.get_archive, "/nosuch")
        self.fails(404, "nosuch", c.put_archive, "/nosuch", archive({}))
        self.fails(400, "", c.put_archive, "/etc/passwd", archive({"x": b""}))
        c.stop(timeout=0)  # and the same of one that does not run
        self.assertTrue(c.put_archive("/", archive({"later": b"L"})))
        chunks, _ = c.get_archive("/later")
        self.assertEqual(unpack(chunks).extractfile("later").read(), b"L")

    def test_top_diff_export(self):
        c = self.start("sh -c 'mkdir /new; echo x >/new/file; rm /etc/group; sleep 1000'")
        deadline = time.time() + 60
        while len(c.diff()) < 4 and time.time() < deadline:
            time.sleep(0.02)
        self.assertEqual(
            sorted((x["Path"], x["Kind"]) for x in c.diff()), [("/etc", 0), ("/etc/group", 2), ("/new", 1), ("/new/file", 1)]
        )
        top = c.top()
        self.assertIn("PID", top["Titles"])
        self.assertTrue(any("sleep 1000" in p[-1] for p in top["Processes"]), top)
        self.assertEqual(c.top(ps_args="-o pid,args")["Titles"][0], "PID")
        names = unpack(c.export()).getnames()
        self.assertIn("new/file", names)
        self.assertNotIn("etc/group", names)

    def test_ports_and_links(self):
        c = self.start(name="py-ports", network_mode="bridge", ports={"80/tcp": ("127.0.0.1", 8180), "81/udp": None})
        c.reload()
        self.assertEqual(c.ports["80/tcp"], [{"HostIp": "127.0.0.1", "HostPort": "8180"}])
        self.assertTrue(int(c.ports["81/udp"][0]["HostPort"]) > 0)
        self.assertEqual(self.api.port(c.id, 80), [{"HostIp": "127.0.0.1", "HostPort": "8180"}])
        out = self.d.containers.run("busybox", "ping -c1 -W5 other", links={"py-ports": "other"}, remove=True)
        self.assertIn(b"1 packets received", out)

    def test_low_level_create(self):
        host = self.api.create_host_config(binds=["/etc:/mnt:ro", "py-vol:/vol"], network_mode="none", auto_remove=True, group_add=["7"])
        made = self.api.create_container("busybox", "sleep 1000", host_config=host, name="py-low", volumes=["/mnt", "/vol", "/anon"], stop_signal="KILL")
        self.assertEqual(made["Warnings"], [])
        self.api.start(made["Id"])
        info = self.api.inspect_container("py-low")
        self.assertEqual(sorted(m["Destination"] for m in info["Mounts"]), ["/anon", "/mnt", "/vol"])
        self.assertEqual(self.api.inspect_container(made["Id"][:12])["Id"], made["Id"])
        listed = self.api.containers(filters={"name": "py-low"}, size=True)[0]
        self.assertEqual((listed["Names"], listed["Image"], listed["State"]), (["/py-low"], "busybox", "running"))
        self.assertIn("SizeRootFs", listed)
        self.api.stop("py-low", timeout=0)
        deadline = time.time() + 60
        while self.api.containers(all=True, filters={"name": "py-low"}) and time.time() < deadline:
            time.sleep(0.02)
        self.fails(404, "py-low", self.api.inspect_container, "py-low")
        self.api.remove_volume("py-vol")

    def test_commit(self):
        c = self.start()
        c.exec_run(["sh", "-c", "echo made >/made"])
        img = c.commit("py/copy", "1", message="why", author="me", changes=["ENV A=1", "CMD cat /made"])
        self.addCleanup(self.d.images.remove, "py/copy:1", force=True)
        self.assertEqual(img.tags, ["py/copy:1"])
        self.assertEqual((img.attrs["Author"], img.attrs["Comment"]), ("me", "why"))
        self.assertEqual(self.d.containers.run("py/copy:1", network_mode="none", remove=True), b"made\n")
        self.assertEqual(img.history()[0]["Comment"], "why")

    def test_prune(self):
        c = self.create("true", labels={"prune": "me"})
        done = self.d.containers.prune(filters={"label": "prune=me"})
        self.assertEqual(done["ContainersDeleted"], [c.id])
        self.assertIn("SpaceReclaimed", done)

    def test_lists(self):
        run = self.start(name="py-listed", labels={"l": "1"})
        made = self.create(name="py-made", labels={"l": "2"})
        ids = lambda **f: sorted(c.name for c in self.d.containers.list(**f))
        self.assertEqual(ids(filters={"label": "l"}), ["py-listed"])
        self.assertEqual(ids(all=True, filters={"label": ["l"]}), ["py-listed", "py-made"])
        self.assertEqual(ids(filters={"status": "created", "label": "l"}), ["py-made"])
        self.assertEqual(ids(all=True, filters={"id": made.id}), ["py-made"])
        self.assertEqual(ids(all=True, filters={"since": run.id, "label": "l"}), ["py-made"])
        self.assertEqual(len(self.d.containers.list(all=True, limit=1)), 1)
        self.fails(400, "nosuch", self.d.containers.list, filters={"nosuch": "1"})


class Images(Base):
    def test_tags(self):
        img = self.d.images.get("busybox")
        self.assertTrue(img.tag("py/tagged", "1"))
        img.reload()
        self.assertIn("py/tagged:1", img.tags)
        self.assertEqual([i.id for i in self.d.images.list("py/tagged")], [img.id])
        self.assertEqual([i.id for i in self.d.images.list(filters={"reference": "py/*"})], [img.id])
        self.d.images.remove("py/tagged:1")
        with self.assertRaises(errors.ImageNotFound):
            self.d.images.get("py/tagged:1")
        self.assertRegex(img.short_id, "^sha256:[0-9a-f]{10}$")
        self.assertTrue(img.history()[0]["Id"])
        self.assertEqual(img.attrs["Os"], "linux")

    def test_save_and_load(self):
        self.d.images.get("busybox").tag("py/saved", "1")
        data = b"".join(self.d.images.get("py/saved:1").save(named="py/saved:1"))
        self.d.images.remove("py/saved:1")
        loaded = self.d.images.load(data)
        self.assertEqual([i.tags.count("py/saved:1") for i in loaded], [1])
        self.d.images.remove("py/saved:1")
        self.fails(400, "", self.d.images.load, b"no archive")

    def test_import(self):
        result = self.api.import_image_from_data(archive({"f": b"F"}), repository="py/imported", tag="1", changes=["ENV A=1"])
        self.assertIn("sha256:", result)
        img = self.d.images.get("py/imported:1")
        self.assertIn("A=1", img.attrs["Config"]["Env"])
        c = self.d.containers.create(img, "/f", network_mode="none")
        self.fails(409, "", self.d.images.remove, img.id)
        self.d.images.remove("py/imported:1", force=True)
        c.remove()
        self.d.images.prune(filters={"dangling": True})
        with self.assertRaises(errors.ImageNotFound):
            self.d.images.get(img.id)

    def test_registry(self):
        name = os.environ["REGISTRY"] + "/py/pushed"
        self.d.images.get("busybox").tag(name, "1")
        lines = list(self.d.images.push(name, tag="1", stream=True, decode=True))
        digest = [line["aux"]["Digest"] for line in lines if "aux" in line][0]
        self.d.images.remove(name + ":1")
        img = self.d.images.pull(name, tag="1")
        self.assertIn(name + "@" + digest, img.attrs["RepoDigests"])
        self.assertEqual(self.d.images.get_registry_data(name + ":1").id, digest)
        progress = list(self.api.pull(name, tag="1", stream=True, decode=True))
        self.assertIn("Image is up to date", progress[-1]["status"])
        self.assertEqual(len(self.d.images.pull(name, all_tags=True)), 1)
        self.d.images.remove(name + ":1")
        with self.assertRaises(errors.NotFound):
            self.d.images.pull(os.environ["REGISTRY"] + "/py/nosuch", tag="1")
        self.assertIn("error", list(self.d.images.push(name, tag="never", stream=True, decode=True))[-1])

    def test_search_offline(self):
        with self.assertRaises(errors.APIError) as caught:
            self.d.images.search("busybox")
        self.assertIn(caught.exception.status_code, (500, 503))


class Networks(Base):
    def test_life(self):
        n = self.d.networks.create(
            "py-net", labels={"a": "b"}, ipam=IPAMConfig(pool_configs=[IPAMPool(subnet="10.78.0.0/24", gateway="10.78.0.1")]),
            check_duplicate=True, internal=True,
        )
        self.addCleanup(n.remove)
        self.fails(409, "py-net", self.d.networks.create, "py-net")
        self.assertEqual([x.name for x in self.d.networks.list(names=["py-net"])], ["py-net"])
        self.assertTrue(n.attrs["Internal"])
        a = self.start(name="py-a", network="py-net", network_mode=None)
        b = self.start(name="py-b")
        self.fails(403, "none", n.connect, b)  # a container with network none joins no other
        b.remove(force=True)
        b = self.start(name="py-b", network_mode="bridge")
        n.connect(b, aliases=["bee"], ipv4_address="10.78.0.77")
        code, out = a.exec_run("ping -c1 -W5 bee")
        self.assertEqual(code, 0, out)
        self.assertIn(b"10.78.0.77", out)
        n.reload()
        self.assertEqual(sorted(c.name for c in n.containers), ["py-a", "py-b"])
        self.fails(403, "", n.remove)
        n.disconnect(b)
        n.disconnect(a, force=True)
        n.reload()
        self.assertEqual(n.containers, [])
        self.fails(404, "nosuch", n.connect, "nosuch")

    def test_endpoint(self):
        self.api.create_network("py-ep", driver="bridge", ipam=IPAMConfig(pool_configs=[IPAMPool(subnet="10.79.0.0/24")]))
        cfg = self.api.create_networking_config({"py-ep": self.api.create_endpoint_config(ipv4_address="10.79.0.9", aliases=["al"])})
        made = self.api.create_container("busybox", "sleep 1000", networking_config=cfg, host_config=self.api.create_host_config(network_mode="py-ep"))
        self.api.start(made["Id"])
        ep = self.api.inspect_container(made["Id"])["NetworkSettings"]["Networks"]["py-ep"]
        self.assertEqual((ep["IPAddress"], ep["Gateway"], ep["IPPrefixLen"]), ("10.79.0.9", "10.79.0.1", 24))
        self.assertIn("al", ep["Aliases"])
        self.api.remove_container(made["Id"], force=True)
        self.api.remove_network("py-ep")

    def test_prune(self):
        self.d.networks.create("py-prune", labels={"prune": "net"})
        self.assertEqual(self.d.networks.prune(filters={"label": ["prune=net"]})["NetworksDeleted"], ["py-prune"])
        self.fails(404, "py-prune", self.d.networks.get, "py-prune")


class Volumes(Base):
    def test_life(self):
        v = self.d.volumes.create("py-volume", driver="local", labels={"a": "b"})
        self.assertEqual((v.name, v.attrs["Driver"], v.attrs["Labels"]), ("py-volume", "local", {"a": "b"}))
        self.assertEqual(self.d.volumes.create("py-volume").id, v.id)
        self.d.containers.run("busybox", "sh -c 'echo kept >/v/f'", volumes={"py-volume": {"bind": "/v", "mode": "rw"}}, network_mode="none", remove=True)
        c = self.start(volumes=["py-volume:/in:ro"])
        self.assertEqual(c.exec_run("cat /in/f").output, b"kept\n")
        self.assertNotEqual(c.exec_run("touch /in/g").exit_code, 0)
        self.assertEqual([x.name for x in self.d.volumes.list(filters={"name": "py-volume"})], ["py-volume"])
        self.fails(409, "py-volume", v.remove)
        c.remove(force=True)
        v.remove()
        self.fails(404, "py-volume", self.d.volumes.get, "py-volume")

    def test_prune(self):
        self.d.volumes.create("py-prune", labels={"prune": "vol"})
        self.assertEqual(self.d.volumes.prune(filters={"label": "prune=vol"})["VolumesDeleted"], [])  # it has a name
        self.assertEqual(self.d.volumes.prune(filters={"label": "prune=vol", "all": "1"})["VolumesDeleted"], ["py-prune"])


class System(Base):
    def test_info(self):
        self.assertTrue(self.d.ping())
        self.assertEqual(self.d.info()["OSType"], "linux")
        self.assertEqual(self.d.version()["Os"], "linux")
        d = docker.from_env(version="1.41")
        for key in ("LayersSize", "Images", "Containers", "Volumes", "BuildCache"):
            self.assertIn(key, d.df())
        d.close()
        self.assertIn("ImageUsage", self.d.df())

    def test_old_and_new_versions(self):
        for version in ("1.24", "1.30", "1.41", "1.44", "auto"):
            d = docker.DockerClient(base_url=os.environ["DOCKER_HOST"], version=version)
            self.assertEqual(d.containers.run("busybox", "echo " + version, network_mode="none", remove=True).decode(), version + "\n")
            d.close()
        with self.assertRaises(errors.APIError) as caught:
            docker.DockerClient(base_url=os.environ["DOCKER_HOST"], version="1.22").info()
        self.assertIn("too old", str(caught.exception))

    def test_events(self):
        begin = int(time.time()) - 1
        stream = self.d.events(decode=True, filters={"type": "container", "label": "ev=1"})
        c = self.start("true", labels={"ev": "1"}, name="py-events")
        c.wait()
        c.remove()
        seen = []
        for event in stream:
            seen.append(event["Action"])
            self.assertEqual((event["Actor"]["ID"], event["Actor"]["Attributes"]["name"]), (c.id, "py-events"))
            if event["Action"] == "destroy":
                break
        stream.close()
        self.assertEqual([a for a in seen if a != "attach"], ["create", "start", "die", "destroy"])
        past = self.d.events(since=begin, until=int(time.time()) + 1, filters={"label": "ev=1"}, decode=True)
        self.assertEqual([e["Action"] for e in past if e["Action"] != "attach"], ["create", "start", "die", "destroy"])

    def test_login(self):
        with self.assertRaises(errors.APIError):
            self.d.login("nobody", "wrong", registry="http://127.0.0.1:1")


if __name__ == "__main__":
    unittest.main(verbosity=2)

package jobstest

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/xml"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// An ObjectStore is where archives are kept instead of on GitLab's disk: a
// second origin that takes signed links. It refuses requests that carry
// credentials beside the signature, as S3 does.
type ObjectStore struct {
	TTL            time.Duration // how long a link is good, by the server's clock; default 10 min
	WeakETag       bool          // its ETags are weak
	NoETag         bool
	NoLastModified bool
	// Proxied keeps the store behind GitLab, which fetches from it and passes
	// on what it says: no redirect.
	Proxied bool
}

// defaultLinkTTL is how long GitLab signs links for.
const defaultLinkTTL = 10 * time.Minute

// SetObjectStoreInUse says whether archives are in the object store, of a
// server that has one, or on GitLab's own disk. They are in the store at
// first; GitLab moves each there some time after its upload.
func (s *Server) SetObjectStoreInUse(inUse bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fromStore = inUse && s.store != nil
}

// signedLink puts a job's archive into the store and signs a link to it.
func (s *Server) signedLink(j *Job, now time.Time) string {
	sum := sha256.Sum256([]byte(strconv.FormatInt(j.pl.p.id, 10)))
	hash := hex.EncodeToString(sum[:])
	path := fmt.Sprintf("/gitlab-artifacts/%s/%s/%s/%s/%d/%d/%s",
		hash[:2], hash[2:4], hash, j.created.UTC().Format("2006_01_02"), j.id, j.archive.serial, url.PathEscape(j.archive.name))
	s.objects[path] = j.archive
	ttl := s.store.TTL
	if ttl == 0 {
		ttl = defaultLinkTTL
	}
	query := url.Values{
		"X-Amz-Algorithm":              {"AWS4-HMAC-SHA256"},
		"X-Amz-Credential":             {"JOBSTESTACCESSKEY/" + now.UTC().Format("20060102") + "/us-east-1/s3/aws4_request"},
		"X-Amz-Date":                   {now.UTC().Format(amzTime)},
		"X-Amz-Expires":                {strconv.FormatInt(int64(ttl/time.Second), 10)},
		"X-Amz-SignedHeaders":          {"host"},
		"response-content-disposition": {`attachment; filename="` + j.archive.name + `"; filename*=UTF-8''` + escapeName(j.archive.name)},
		"response-content-type":        {"application/zip"},
		"jobstest-expires":             {strconv.FormatInt(now.Add(ttl).UnixNano(), 10)}, // TTLs below a second
	}
	query.Set("X-Amz-Signature", s.sign(path, query))
	return s.storeURL + path + "?" + query.Encode()
}

const amzTime = "20060102T150405Z"

// sign signs a link. The query doesn't hold the signature yet.
func (s *Server) sign(path string, query url.Values) string {
	mac := hmac.New(sha256.New, s.signingKey)
	_, _ = mac.Write([]byte("GET\n" + path + "\n" + query.Encode())) // a hash takes everything
	return hex.EncodeToString(mac.Sum(nil))
}

// serveStore answers every request to the object store.
func (s *Server) serveStore(w http.ResponseWriter, r *http.Request) {
	a := s.begin(w, r, "store", "store")
	defer a.end()
	s.answer(a, &call{s: s, r: r}, func() (reply, *failure) {
		if rep := s.checkLink(r); rep != nil {
			return rep, nil
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		object := s.objects[r.URL.EscapedPath()]
		if object == nil {
			return storeError{http.StatusNotFound, "NoSuchKey", "The specified key does not exist."}, nil
		}
		return storedReply{archive: object}, nil
	})
}

// checkLink returns what the store answers to a request that it refuses.
func (s *Server) checkLink(r *http.Request) reply {
	for _, name := range []string{"PRIVATE-TOKEN", "JOB-TOKEN", "Authorization", "Cookie"} {
		if r.Header.Get(name) != "" {
			return storeError{http.StatusBadRequest, "InvalidArgument", "Only one auth mechanism allowed; only the X-Amz-Algorithm " +
				"query parameter, Signature query string parameter or the Authorization header should be specified"}
		}
	}
	if r.Method != http.MethodGet {
		return storeError{http.StatusForbidden, "SignatureDoesNotMatch", "The request signature we calculated does not match the signature you provided."}
	}
	query := r.URL.Query()
	signature := query.Get("X-Amz-Signature")
	if signature == "" {
		return storeError{http.StatusForbidden, "AccessDenied", "Access Denied"}
	}
	query.Del("X-Amz-Signature")
	if !hmac.Equal([]byte(signature), []byte(s.sign(r.URL.EscapedPath(), query))) {
		return storeError{http.StatusForbidden, "SignatureDoesNotMatch", "The request signature we calculated does not match the signature you provided."}
	}
	expires, err := strconv.ParseInt(query.Get("jobstest-expires"), 10, 64)
	if err != nil || !s.clock.Now().Before(time.Unix(0, expires)) {
		return storeError{http.StatusForbidden, "AccessDenied", "Request has expired"}
	}
	return nil
}

// A storeError is how an object store refuses: in XML.
type storeError struct {
	status        int
	code, message string
}

func (e storeError) write(a *answer, c *call) {
	var text strings.Builder
	_ = xml.EscapeText(&text, []byte(e.message)) // a strings.Builder takes everything
	textReply{status: e.status, contentType: "application/xml", body: fmt.Sprintf(
		"<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error><Code>%s</Code><Message>%s</Message><RequestId>JOBSTEST</RequestId></Error>", e.code, text.String(),
	)}.write(a, c)
}

// A storedReply sends an archive from the object store.
type storedReply struct {
	*archive
	proxied bool // by GitLab: without what the store says of caching and names
}

func (st storedReply) write(a *answer, c *call) {
	h := a.Header()
	h.Set("Content-Type", first(a.r.URL.Query().Get("response-content-type"), "application/zip"))
	if disposition := a.r.URL.Query().Get("response-content-disposition"); disposition != "" && !st.proxied {
		h.Set("Content-Disposition", disposition)
	}
	if st.proxied {
		setAPIHeaders(h, c)
	} else {
		h.Set("Server", "AmazonS3")
		h.Set("X-Amz-Request-Id", "JOBSTEST")
	}
	file := fileReply{st.archive}.changedBy(a.fault)
	// Like that of an upload in parts: no digest of the whole.
	tag := fmt.Sprintf(`"%032x-%d"`, uint64(file.serial), file.size/storePartSize+1)
	if c.s.store.WeakETag {
		tag = "W/" + tag
	}
	if c.s.store.NoETag {
		tag = ""
	}
	modified := file.modified
	if c.s.store.NoLastModified {
		modified = time.Time{}
	}
	serveContent(a, tag, modified, file.section())
}

// storePartSize is the size of the parts that uploads to a store come in.
const storePartSize = 100 << 20

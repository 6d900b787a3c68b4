/* dimseload: a load generator for any DICOM SCP, cheap enough not to be the bottleneck.
 *
 * cc -O2 -pthread -o dimseload dimseload.c
 * cc -O2 -pthread -DTLS -o dimseload-tls dimseload.c -lssl -lcrypto     (the same over TLS: tls.h)
 * dimseload MODE HOST PORT CALLED_AE [key=value ...]
 *   MODE store : each of `assocs` threads opens one association and sends `count` C-STOREs over it
 *   MODE echo  : the same with C-ECHO
 *   MODE assoc : each thread does `count` times associate + C-ECHO + release
 *   MODE hold  : opens `assocs` associations (one thread), holds them `seconds`, then echoes on each
 *   MODE find  : sends `count` C-FINDs with identifier file `file` (sop= the model), counting responses; where `keys`
 *                is given, the place off/len gets one of that many numbers, a different one each time
 *   MODE move  : the same with C-MOVE to `destination`
 * keys: assocs=1 count=100 file=PATH (raw data set, in the proposed transfer syntax)
 *       sop=UID ts=UID off=N len=L (the place of the SOP Instance UID in the data set: L chars, the last 12 are
 *       overwritten with a counter) seoff/stoff=N selen/stlen=L per=N (series / study UID places, a new one every
 *       `per` instances) maxpdu=N (own send cap; 0 = what the acceptor allows) calling=AE seconds=S tag=N
 *       keys=N destination=AE quickack=1 (acknowledge at once: takes the 40 ms stall away from servers that write a PDU in two pieces)
 * Prints one line of JSON: instances, seconds, per_s, MBps, lat_ms p50/p99/max, failures by status, pending responses and
 * the median until the first of them; over TLS what was agreed on.
 * Bytes on the wire follow PS3.8 (upper layer) and PS3.7 (DIMSE).
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>
#include "tls.h"

static const char *host = "127.0.0.1", *port = "11112", *called = "ANY-SCP", *calling = "LOADGEN", *mode = "echo";
static const char *sop = "1.2.840.10008.5.1.4.1.1.2", *ts = "1.2.840.10008.1.2.1", *destination = "LIMIT";
static long assocs = 1, count = 100, off = -1, len = 0, seoff = -1, selen = 0, stoff = -1, stlen = 0, per = 100, maxpdu = 0, seconds = 5, tagno = 0, quickack = 0, keys = 0;
static uint8_t *data; static long data_len;
static double *lat, *first; static atomic_long nlat, nfirst, failures, responses; static atomic_long last_status;
static long base_counter;

static double now(void){ struct timespec t; clock_gettime(CLOCK_MONOTONIC,&t); return t.tv_sec + t.tv_nsec*1e-9; }
static void put16(uint8_t*p, unsigned v){ p[0]=v>>8; p[1]=v; }
static void put32(uint8_t*p, unsigned v){ p[0]=v>>24; p[1]=v>>16; p[2]=v>>8; p[3]=v; }
static unsigned get32(const uint8_t*p){ return (unsigned)p[0]<<24|p[1]<<16|p[2]<<8|p[3]; }
static void le16(uint8_t*p, unsigned v){ p[0]=v; p[1]=v>>8; }
static void le32(uint8_t*p, unsigned v){ p[0]=v; p[1]=v>>8; p[2]=v>>16; p[3]=v>>24; }

typedef struct { int fd; unsigned peer_max; uint8_t ctx_ok; } Conn;

static int readn(int fd, void*b, size_t n){ uint8_t*p=b; while(n){ if(quickack){ int one=1; setsockopt(fd,IPPROTO_TCP,TCP_QUICKACK,&one,sizeof one); } ssize_t r=read(fd,p,n); if(r<=0){ if(r<0&&errno==EINTR)continue; return -1;} p+=r;n-=r;} return 0; }
static int writen(int fd, const void*b, size_t n){ const uint8_t*p=b; while(n){ ssize_t r=write(fd,p,n); if(r<=0){ if(r<0&&errno==EINTR)continue; return -1;} p+=r;n-=r;} return 0; }
static int writevn(int fd, struct iovec*v, int n){ while(n){ ssize_t r=writev(fd,v,n>1024?1024:n); if(r<0){ if(errno==EINTR)continue; return -1;} while(n&&r>=(ssize_t)v->iov_len){ r-=v->iov_len; v++; n--; } if(n&&r){ v->iov_base=(uint8_t*)v->iov_base+r; v->iov_len-=r; } } return 0; }

static int item(uint8_t*p, int type, const char*s){ int l=strlen(s); p[0]=type;p[1]=0;put16(p+2,l);memcpy(p+4,s,l);return 4+l; }

static int dial(void){
  struct addrinfo h={0},*r; h.ai_socktype=SOCK_STREAM; if(getaddrinfo(host,port,&h,&r)) return -1;
  int fd=socket(r->ai_family,SOCK_STREAM,0); if(fd<0||connect(fd,r->ai_addr,r->ai_addrlen)){ freeaddrinfo(r); if(fd>=0)close(fd); return -1; }
  freeaddrinfo(r); int one=1; setsockopt(fd,IPPROTO_TCP,TCP_NODELAY,&one,sizeof one);
  if(tls_connect(fd)){ close(fd); return -1; }
  return fd;
}

static int associate(Conn*c){
  uint8_t b[2048]; int n=0; memset(b,0,sizeof b); c->fd=dial(); if(c->fd<0) return -1;
  b[0]=1; put16(b+6,1); memset(b+10,' ',32); memcpy(b+10,called,strlen(called)); memcpy(b+26,calling,strlen(calling)); n=74;
  n+=item(b+n,0x10,"1.2.840.10008.3.1.1.1");
  const char*abs[2]={"1.2.840.10008.1.1",sop}; const char*tsx[2]={"1.2.840.10008.1.2",ts};
  for(int i=0;i<2;i++){ int s=n; b[n]=0x20; b[n+4]=1+2*i; n+=8; n+=item(b+n,0x30,abs[i]); n+=item(b+n,0x40,tsx[i]); put16(b+s+2,n-s-4); }
  int s=n; b[n]=0x50; n+=4; b[n]=0x51; put16(b+n+2,4); put32(b+n+4,1<<20); n+=8; n+=item(b+n,0x52,"1.2.826.0.1.3680043.9.7777.1"); n+=item(b+n,0x55,"DIMSELOAD_1"); put16(b+s+2,n-s-4);
  put32(b+2,n-6); if(writen(c->fd,b,n)) return -2;
  uint8_t h[6]; if(readn(c->fd,h,6)) return -3; unsigned l=get32(h+2); if(l>65536) return -4;
  uint8_t*r=malloc(l); if(readn(c->fd,r,l)){ free(r); return -5; }
  if(h[0]!=2){ free(r); return -10-h[0]; }
  c->peer_max=16384; c->ctx_ok=0; unsigned p=68;
  while(p+4<=l){ unsigned il=r[p+2]<<8|r[p+3]; if(r[p]==0x21&&r[p+6]==0&&r[p+4]==3) c->ctx_ok=1;
    if(r[p]==0x50){ unsigned q=p+4; while(q+4<=p+4+il){ unsigned sl=r[q+2]<<8|r[q+3]; if(r[q]==0x51) c->peer_max=get32(r+q+4); q+=4+sl; } } p+=4+il; }
  free(r);
  if(c->peer_max==0||c->peer_max>(8u<<20)) c->peer_max=8u<<20;
  if(maxpdu&&c->peer_max>maxpdu) c->peer_max=maxpdu;
  return 0;
}
static void release(Conn*c){ uint8_t b[10]={5,0,0,0,0,4,0,0,0,0}; if(!writen(c->fd,b,10)) readn(c->fd,b,10); close(c->fd); }

static int elem(uint8_t*p, unsigned e, const void*v, unsigned l){ le16(p,0); le16(p+2,e); unsigned pad=l&1; le32(p+4,l+pad); memcpy(p+8,v,l); if(pad)p[8+l]=0; return 8+l+pad; }
static int us(uint8_t*p, unsigned e, unsigned v){ uint8_t b[2]; le16(b,v); return elem(p,e,b,2); }

/* one response: returns status, or -1 */
static long response(Conn*c, int*more){
  static __thread uint8_t*buf; static __thread unsigned cap; uint8_t cmd[4096]; int cl=0, last=0, dsnext=0; *more=0; long status=-1;
  for(;;){
    uint8_t h[6]; if(readn(c->fd,h,6)) return -1; unsigned l=get32(h+2); if(l>cap){ buf=realloc(buf,cap=l); } if(readn(c->fd,buf,l)) return -1; if(h[0]!=4) return -1;
    for(unsigned p=0;p+6<=l;){ unsigned il=get32(buf+p); int ctl=buf[p+5]; if(ctl&1){ if(cl+il-2<sizeof cmd){ memcpy(cmd+cl,buf+p+6,il-2); cl+=il-2; } if(ctl&2) last=1; } else if(ctl&2) dsnext=2; p+=4+il; }
    if(last==1){ int ds=0x101; for(int p=0;p+8<=cl;){ unsigned e=cmd[p+2]|cmd[p+3]<<8, el=cmd[p+4]|cmd[p+5]<<8|cmd[p+6]<<16; if(e==0x900) status=cmd[p+8]|cmd[p+9]<<8; if(e==0x800) ds=cmd[p+8]|cmd[p+9]<<8; p+=8+el; } last=2; if(ds==0x101) dsnext=2; }
    if(last==2&&dsnext==2){ *more = status==0xff00||status==0xff01; return status; }
  }
}

static int send_command(Conn*c, int ctx, const uint8_t*cmd, int n){ uint8_t b[4200]; b[0]=4;b[1]=0;put32(b+2,n+6);put32(b+6,n+2);b[10]=ctx;b[11]=3;memcpy(b+12,cmd,n); return writen(c->fd,b,n+12); }
static int group(uint8_t*cmd, int n){ uint8_t l[4]; le32(l,n-12); elem(cmd,0,l,4); return n; }

static int echo(Conn*c, int id){ uint8_t m[256]; int n=12; n+=elem(m+n,2,"1.2.840.10008.1.1",17); n+=us(m+n,0x100,0x30); n+=us(m+n,0x110,id); n+=us(m+n,0x800,0x101); group(m,n); int more; if(send_command(c,1,m,n)) return -1; return response(c,&more); }

static int send_data(Conn*c, uint8_t*d, long dl, uint8_t*head, int headn){
  unsigned chunk=c->peer_max-6; chunk&=~1u; long pdus=(dl+chunk-1)/chunk; struct iovec*v=malloc(sizeof(struct iovec)*(2*pdus+1)); uint8_t*hs=malloc(12*pdus); int k=0;
  if(headn){ v[k].iov_base=head; v[k++].iov_len=headn; }
  for(long i=0,p=0;i<pdus;i++){ unsigned l=dl-p<chunk?dl-p:chunk; uint8_t*h=hs+12*i; h[0]=4;h[1]=0;put32(h+2,l+6);put32(h+6,l+2);h[10]=3;h[11]=p+l==dl?2:0; v[k].iov_base=h; v[k++].iov_len=12; v[k].iov_base=d+p; v[k++].iov_len=l; p+=l; }
  int r=writevn(c->fd,v,k); free(v); free(hs); return r;
}
static void digits(uint8_t*p, int n, long v){ for(int i=n-1;i>=0;i--){ p[i]='0'+v%10; v/=10; } }

static long store(Conn*c, uint8_t*d, int id, long serial){
  char uid[80]; if(off>=0){ digits(d+off+len-12,12,serial); memcpy(uid,d+off,len); uid[len]=0; while(len&&uid[strlen(uid)-1]==0) break; }
  else snprintf(uid,sizeof uid,"1.2.826.0.1.3680043.9.7777.9.%ld",serial);
  if(seoff>=0) digits(d+seoff+selen-12,12,serial/per+1); if(stoff>=0) digits(d+stoff+stlen-12,12,serial/(per*4)+1);
  uint8_t m[400]; int n=12; n+=elem(m+n,2,sop,strlen(sop)); n+=us(m+n,0x100,1); n+=us(m+n,0x110,id); n+=us(m+n,0x700,0); n+=us(m+n,0x800,1); n+=elem(m+n,0x1000,uid,strlen(uid)); group(m,n);
  uint8_t h[420]; h[0]=4;h[1]=0;put32(h+2,n+6);put32(h+6,n+2);h[10]=3;h[11]=3;memcpy(h+12,m,n); int more;
  if(send_data(c,d,data_len,h,n+12)) return -1; return response(c,&more);
}
static void note(double t, long st){ lat[atomic_fetch_add(&nlat,1)]=t; if(st!=0){ atomic_fetch_add(&failures,1); atomic_store(&last_status,st); } }

static void*work(void*a){
  long w=(long)a; Conn c; uint8_t*d=NULL; if(data){ d=malloc(data_len); memcpy(d,data,data_len); }
  if(!strcmp(mode,"assoc")){ for(long i=0;i<count;i++){ double t=now(); long st=associate(&c); if(!st){ st=echo(&c,1); release(&c);} note(now()-t,st); } return 0; }
  long e=associate(&c); if(e){ for(long i=0;i<count;i++) note(0,e); return 0; }
  if(!strcmp(mode,"store")&&!c.ctx_ok){ for(long i=0;i<count;i++) note(0,-99); return 0; }
  for(long i=0;i<count;i++){ double t=now(); long st=0; int id=1+i%60000;
    if(!strcmp(mode,"store")) st=store(&c,d,id,base_counter+w*count+i);
    else if(!strcmp(mode,"echo")) st=echo(&c,id);
    else { uint8_t m[300]; int n=12, move=!strcmp(mode,"move"), seen=0; n+=elem(m+n,2,sop,strlen(sop)); n+=us(m+n,0x100,move?0x21:0x20); n+=us(m+n,0x110,id); if(move) n+=elem(m+n,0x600,destination,strlen(destination)); n+=us(m+n,0x700,0); n+=us(m+n,0x800,1); group(m,n); int more=1;
      if(keys&&off>=0) digits(d+off+len-12,12,1+(w*count+i)*7919%keys);
      if(send_command(&c,3,m,n)||send_data(&c,d,data_len,0,0)) st=-1; else { while(more){ st=response(&c,&more); if(more){ if(!seen++) first[atomic_fetch_add(&nfirst,1)]=now()-t; atomic_fetch_add(&responses,1); } } } }
    note(now()-t,st); if(st<0) { for(i++;i<count;i++) note(0,st); close(c.fd); return 0; } }
  release(&c); return 0;
}
static int cmp(const void*a,const void*b){ double x=*(double*)a,y=*(double*)b; return x<y?-1:x>y; }

int main(int ac,char**av){
  if(ac<5){ fprintf(stderr,"usage: dimseload store|echo|assoc|hold|find|move HOST PORT CALLED_AE [key=value ...]\n"); return 2; }
  signal(SIGPIPE,SIG_IGN); mode=av[1];host=av[2];port=av[3];called=av[4]; base_counter=(long)time(0)%100000*1000000L;
  for(int i=5;i<ac;i++){ char*e=strchr(av[i],'='); if(!e) return 2; *e++=0;
    #define L(k,v) if(!strcmp(av[i],k)) v=atol(e);
    L("assocs",assocs) L("count",count) L("off",off) L("len",len) L("seoff",seoff) L("selen",selen) L("stoff",stoff) L("stlen",stlen) L("per",per) L("maxpdu",maxpdu) L("seconds",seconds) L("tag",tagno) L("quickack",quickack) L("keys",keys)
    if(!strcmp(av[i],"sop")) sop=e; if(!strcmp(av[i],"ts")) ts=e; if(!strcmp(av[i],"calling")) calling=e; if(!strcmp(av[i],"destination")) destination=e;
    if(!strcmp(av[i],"file")){ FILE*f=fopen(e,"rb"); if(!f){ perror(e); return 2; } struct stat s; fstat(fileno(f),&s); data_len=s.st_size; data=malloc(data_len); if(fread(data,1,data_len,f)!=data_len) return 2; fclose(f); } }
  if(tagno) base_counter=tagno*1000000L;
  if(tls_client()) return 2;
  lat=calloc(assocs*count+1,sizeof(double)); first=calloc(assocs*count+1,sizeof(double));
  double t0=now();
  if(!strcmp(mode,"hold")){ Conn*c=calloc(assocs,sizeof(Conn)); long ok=0; for(long i=0;i<assocs;i++){ double t=now(); long e=associate(&c[i]); note(now()-t,e); if(e) c[i].fd=-1; else ok++; }
    double t1=now(); fprintf(stderr,"held %ld of %ld in %.3f s\n",ok,assocs,t1-t0); sleep(seconds); long okk=0; for(long i=0;i<assocs;i++) if(c[i].fd>=0){ if(echo(&c[i],1)==0) okk++; release(&c[i]); }
    printf("{\"mode\":\"hold\",\"asked\":%ld,\"associated\":%ld,\"echoed_after\":%ld,\"setup_s\":%.3f}\n",assocs,ok,okk,t1-t0); return okk!=assocs; }
  pthread_t*th=calloc(assocs,sizeof *th); for(long i=0;i<assocs;i++) pthread_create(&th[i],0,work,(void*)i); for(long i=0;i<assocs;i++) pthread_join(th[i],0);
  double s=now()-t0; long n=nlat; qsort(lat,n,sizeof(double),cmp); qsort(first,nfirst,sizeof(double),cmp);
  printf("{\"mode\":\"%s\",\"assocs\":%ld,\"n\":%ld,\"failures\":%ld,\"last_bad\":%ld,\"seconds\":%.3f,\"per_s\":%.1f,\"MBps\":%.1f,\"p50_ms\":%.3f,\"p99_ms\":%.3f,\"max_ms\":%.3f,\"responses\":%ld,\"first_ms\":%.3f%s}\n",mode,assocs,n,(long)failures,(long)last_status,s,n/s,(data&&!strcmp(mode,"store"))?n*(double)data_len/s/1e6:0.0,lat[n/2]*1e3,lat[(long)(n*0.99)]*1e3,lat[n-1]*1e3,(long)responses,first[nfirst/2]*1e3,tls_said());
  return failures!=0;
}

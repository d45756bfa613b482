// Command click segments a picture that the server keeps, by prompts:
//
//	click HOST:PORT PICTURE PROMPT...
//
// It uploads the picture's file to the model slimsam_image, sends each prompt, a JSON object such as
// {"points": [[914, 256]]}, to slimsam_click, and prints the best mask of each object as JSON, a line
// for each prompt. Its messages are JSON, turned into Protobuf by the descriptors in
// inference.protoset: docs/contract.md says how to write that file.
package main

import (
	"bytes"
	"context"
	_ "embed"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/dynamicpb"
)

//go:embed inference.protoset
var protoset []byte

// Picture is one that the server keeps.
type Picture struct {
	id   string
	size [2]int32 // height, width
}

// Mask is the best mask of an object.
type Mask struct {
	ID    string   `json:"mask_id"` // for a prompt that refines it
	Score float32  `json:"score"`
	Area  int64    `json:"area"` // in pixels
	Box   [4]int32 `json:"box"`  // x0, y0, x1, y1 in pixels, the latter two exclusive
	RLE   RLE      `json:"rle"`
}

// RLE is a mask in the form of COCO's tools.
type RLE struct {
	Size   [2]int32 `json:"size"` // height, width
	Counts string   `json:"counts"`
}

// Server has the models.
type Server struct {
	connection      *grpc.ClientConn
	request, answer protoreflect.MessageDescriptor
}

func main() {
	if len(os.Args) < 4 {
		fmt.Fprintln(os.Stderr, "usage: click HOST:PORT PICTURE PROMPT...")
		os.Exit(2)
	}
	if err := run(os.Args[1], os.Args[2], os.Args[3:]); err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v\n", os.Args[1], err)
		os.Exit(1)
	}
}

func run(address, file string, prompts []string) error {
	content, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	server, err := connect(address)
	if err != nil {
		return err
	}
	defer server.connection.Close()
	picture, err := server.upload(content)
	if err != nil {
		return err
	}
	for _, prompt := range prompts {
		masks, err := server.click(picture, prompt)
		if isGone(err) {
			if picture, err = server.upload(content); err != nil {
				return err
			}
			masks, err = server.click(picture, prompt)
		}
		if err != nil {
			return err
		}
		line, err := json.Marshal(masks)
		if err != nil {
			return err
		}
		fmt.Println(string(line))
	}
	return nil
}

// isGone says whether a picture was evicted, forgotten, too old, or sent to another server.
func isGone(err error) bool {
	return status.Code(err) == codes.NotFound &&
		strings.HasPrefix(status.Convert(err).Message(), "not kept here: picture")
}

func (server *Server) upload(content []byte) (Picture, error) {
	answer, err := server.infer("slimsam_image", []int{1}, map[string][]byte{"image_bytes": content})
	if err != nil {
		return Picture{}, err
	}
	picture := Picture{id: texts(answer["image_id"])[0]}
	return picture, numbers(answer["original_size"], &picture.size)
}

func (server *Server) click(picture Picture, prompt string) ([]Mask, error) {
	answer, err := server.infer("slimsam_click", []int{1, 1}, map[string][]byte{
		"image_id": []byte(picture.id),
		"prompt":   []byte(prompt),
	})
	if err != nil {
		return nil, err
	}
	ids, counts := texts(answer["mask_ids"]), texts(answer["masks"])
	scores, areas, boxes := make([]float32, len(ids)), make([]int64, len(ids)), make([][4]int32, len(ids))
	for name, values := range map[string]any{"scores": scores, "areas": areas, "boxes": boxes} {
		if err := numbers(answer[name], values); err != nil {
			return nil, err
		}
	}
	masks := make([]Mask, len(ids))
	for i := range masks {
		masks[i] = Mask{ids[i], scores[i], areas[i], boxes[i], RLE{picture.size, counts[i]}}
	}
	return masks, nil
}

func numbers(raw []byte, values any) error {
	return binary.Read(bytes.NewReader(raw), binary.LittleEndian, values)
}

// texts gives the elements of a BYTES tensor, each of which follows its length.
func texts(raw []byte) []string {
	var elements []string
	for len(raw) > 0 {
		end := 4 + binary.LittleEndian.Uint32(raw)
		elements = append(elements, string(raw[4:end]))
		raw = raw[end:]
	}
	return elements
}

func connect(address string) (*Server, error) {
	var set descriptorpb.FileDescriptorSet
	if err := proto.Unmarshal(protoset, &set); err != nil {
		return nil, err
	}
	files, err := protodesc.NewFiles(&set)
	if err != nil {
		return nil, err
	}
	message := func(name protoreflect.FullName) protoreflect.MessageDescriptor {
		found, _ := files.FindDescriptorByName("inference." + name)
		return found.(protoreflect.MessageDescriptor)
	}
	// In every gRPC 1; newer ones prefer WithTransportCredentials(insecure.NewCredentials()).
	connection, err := grpc.Dial(address, grpc.WithInsecure())
	return &Server{connection, message("ModelInferRequest"), message("ModelInferResponse")}, err
}

// infer sends BYTES tensors of one element each, and gives the bytes of the answer's.
func (server *Server) infer(model string, shape []int, inputs map[string][]byte) (map[string][]byte, error) {
	tensors := []any{}
	for name, element := range inputs {
		tensors = append(tensors, map[string]any{
			"name": name, "datatype": "BYTES", "shape": shape,
			"contents": map[string]any{"bytes_contents": [][]byte{element}}, // base64, in JSON
		})
	}
	text, err := json.Marshal(map[string]any{"model_name": model, "inputs": tensors})
	if err != nil {
		return nil, err
	}
	request, answer := dynamicpb.NewMessage(server.request), dynamicpb.NewMessage(server.answer)
	if err := protojson.Unmarshal(text, request); err != nil {
		return nil, err
	}

	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	method := "/inference.GRPCInferenceService/ModelInfer"
	if err := server.connection.Invoke(ctx, method, request, answer); err != nil {
		return nil, err
	}

	if text, err = protojson.Marshal(answer); err != nil {
		return nil, err
	}
	var parsed struct {
		Outputs           []struct{ Name string }
		RawOutputContents [][]byte
	}
	if err := json.Unmarshal(text, &parsed); err != nil {
		return nil, err
	}
	outputs := map[string][]byte{}
	for i, output := range parsed.Outputs {
		outputs[output.Name] = parsed.RawOutputContents[i]
	}
	return outputs, nil
}
